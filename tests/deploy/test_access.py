"""An image listens on all addresses, so that it starts only where somebody said who may come."""

import re
from pathlib import Path

import pytest
import yaml

from service import settings
from service.access import exposure
from service.errors import SettingsError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def image() -> dict[str, str]:
    """Return what the service's image sets by itself."""
    text = (ROOT / "deploy" / "service.Dockerfile").read_text()
    return dict(re.findall(r"^ENV (POINTSMAN_[A-Z_]+)=(\S+)$", text, flags=re.MULTILINE))


def test_the_image_alone_is_refused(image: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="POINTSMAN_KEYS"):
        exposure.check(settings.load(image))
    exposure.check(settings.load({**image, "POINTSMAN_KEYS": "/run/secrets/keys.json"}))


def test_compose_and_kubernetes_say_who_may_come(image: dict[str, str]) -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    exposure.check(settings.load({**image, **compose["services"]["service"]["environment"]}))
    shared = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "base" / "settings.yaml").read_text())
    exposure.check(settings.load({**image, **shared["data"]}))
