"""The settings of access: each from its variable, pairs together, and nothing secret among them."""

from pathlib import Path

import pytest

from service.errors import SettingsError
from service.settings import Settings, load


def test_each_can_be_set(tmp_path: Path) -> None:
    for name in ("cert", "key"):
        (tmp_path / name).touch()
    chosen = load(
        {
            "POINTSMAN_KEYS": "/run/keys.json",
            "POINTSMAN_JWT_KEYS": "/run/jwks.json",
            "POINTSMAN_JWT_ISSUER": "https://id.example",
            "POINTSMAN_JWT_AUDIENCE": "pointsman",
            "POINTSMAN_RATE": "250.5",
            "POINTSMAN_BURST": "1000",
            "POINTSMAN_OPEN": "yes",
            "POINTSMAN_METRICS_OPEN": "yes",
            "POINTSMAN_TLS_CERT": str(tmp_path / "cert"),
            "POINTSMAN_TLS_KEY": str(tmp_path / "key"),
        }
    )
    assert chosen == Settings(
        keys=Path("/run/keys.json"),
        jwt_keys=Path("/run/jwks.json"),
        jwt_issuer="https://id.example",
        jwt_audience="pointsman",
        rate=250.5,
        burst=1_000,
        open=True,
        metrics_open=True,
        tls_cert=tmp_path / "cert",
        tls_key=tmp_path / "key",
    )
    assert load({f"POINTSMAN_{name}": "off" for name in ("KEYS", "JWT_KEYS", "JWT_ISSUER", "TLS_CERT")}) == Settings()


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"TLS_CERT": __file__}, "TLS_KEY"),
        ({"TLS_KEY": __file__}, "TLS_CERT"),
        ({"JWT_KEYS": "jwks", "JWT_ISSUER": "i"}, "JWT_AUDIENCE"),
        ({"JWT_KEYS": "jwks", "JWT_AUDIENCE": "a"}, "JWT_ISSUER"),
    ],
)
def test_what_belongs_together_is_set_together(given: dict[str, str], missing: str) -> None:
    with pytest.raises(SettingsError, match=f"POINTSMAN_{missing}: expected to be set, because POINTSMAN_"):
        load({f"POINTSMAN_{name}": value for name, value in given.items()})


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("KEYS", ""),
        ("JWT_ISSUER", ""),
        ("JWT_AUDIENCE", "a\nb"),
        ("RATE", "-1"),
        ("RATE", "many"),
        ("BURST", "1.5"),
        ("OPEN", "perhaps"),
        ("TLS_CERT", "/no/such/file"),
    ],
)
def test_a_wrong_value_is_refused(name: str, raw: str) -> None:
    with pytest.raises(SettingsError, match=f"POINTSMAN_{name}: expected "):
        load({f"POINTSMAN_{name}": raw})


@pytest.mark.parametrize(
    ("settings", "guarded"), [({}, False), ({"keys": Path("k")}, True), ({"jwt_keys": Path("k")}, True)]
)
def test_callers_are_asked_when_there_is_something_to_know_them_by(settings: dict[str, Path], guarded: bool) -> None:
    assert Settings(**settings).guarded is guarded  # type: ignore[arg-type]
