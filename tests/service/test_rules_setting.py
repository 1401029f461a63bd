"""A shop's own rules over the shipped ones, by a setting."""

from pathlib import Path

import httpx
import pytest

from benchmarks.processes import running
from service.app import build
from service.errors import SettingsError
from service.settings import load

OWN = """
[[limit]]
id = "visa.reattempts_20"
network = "visa"
limit = 3
window_seconds = 2592000
resets_on_approval = true
effective_from = 2025-05-25
source = "our acquirer charges from the fourth"
confidence = "S"
"""


def test_a_shops_own_limit_is_the_one_a_retry_is_bound_by(bundle_shelf: Path, tmp_path: Path) -> None:
    rules = tmp_path / "own.toml"
    rules.write_text(OWN)
    settings = {
        "POINTSMAN_RULES": str(rules),
        "POINTSMAN_BUNDLES": str(bundle_shelf),
        "POINTSMAN_JOURNAL": str(tmp_path / "journal"),
    }
    payment = {
        "payment_id": "p",
        "merchant_id": "m",
        "amount_minor": 1000,
        "currency": "EUR",
        "card_token": "c",
        "card_network": "visa",
        "issuer_country": "DE",
    }
    with running(settings, log=tmp_path / "log") as (url, _):
        body = {**payment, "decline": {"processor": "atlas", "response_code": "51"}}
        answer = httpx.post(f"{url}/api/decisioning/retry", json=body).json()
    assert answer["quota"]["limit"] == 3
    assert {"id": "visa.reattempts_20", "source": "our acquirer charges from the fourth"} in answer["rules"]


def test_a_rule_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"POINTSMAN_RULES: expected the path of a file that is there"):
        load({"POINTSMAN_RULES": str(tmp_path / "none.toml")})


def test_a_rule_file_that_is_wrong_says_what_is_wrong(tmp_path: Path) -> None:
    rules = tmp_path / "own.toml"
    rules.write_text("[[nonsense]]\nid = 1\n")
    settings = load({"POINTSMAN_RULES": str(rules), "POINTSMAN_JOURNAL": "off"})
    with pytest.raises(
        SettingsError, match=r"POINTSMAN_RULES: expected a rule file, got one that is refused: own\.toml"
    ):
        build(settings)
