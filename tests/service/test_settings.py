"""Settings come from the environment once, and say what is wrong with it."""

from pathlib import Path

import msgspec
import pytest

from service import settings
from service.errors import SettingsError
from service.settings import Settings, load


def refused(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load(environ)
    return str(caught.value)


def test_without_variables_every_setting_has_its_default() -> None:
    assert load({"PATH": "/bin", "HOME": "/"}) == Settings()


def test_every_setting_can_be_set() -> None:
    chosen = load(
        {
            "POINTSMAN_HOST": "0.0.0.0",
            "POINTSMAN_PORT": "9000",
            "POINTSMAN_BUNDLES": "/srv/bundles",
            "POINTSMAN_STORE": "rediss://user:secret@cache:6380/2",
            "POINTSMAN_JOURNAL": "off",
            "POINTSMAN_BUDGET_MS": "12.5",
            "POINTSMAN_LOG_LEVEL": "WARNING",
            "POINTSMAN_PAN_EXEMPT": "payment_id, merchant_id",
            "POINTSMAN_BODY_LIMIT": "131072",
            "POINTSMAN_BUNDLE_POLL_SECONDS": "0.25",
            "POINTSMAN_LOG_VECTORS": "no",
            "POINTSMAN_JOURNAL_SYNC": "async",
            "POINTSMAN_JOURNAL_DAYS": "400",
            "POINTSMAN_JOURNAL_MOST_GIB": "200",
            "POINTSMAN_JOURNAL_SEGMENT_MIB": "128",
            "POINTSMAN_JOURNAL_SEGMENT_MINUTES": "5",
            "POINTSMAN_JOURNAL_FLOOR_MIB": "0",
            "POINTSMAN_STORE_TIMEOUT_MS": "4",
            "POINTSMAN_EVENT_TTL_DAYS": "30",
            "POINTSMAN_ANSWER_HOURS": "48",
        }
    )
    assert chosen == Settings(
        host="0.0.0.0",
        port=9000,
        bundles=Path("/srv/bundles"),
        store="rediss://user:secret@cache:6380/2",
        journal=None,
        budget_ms=12.5,
        log_level="warning",
        pan_exempt=("merchant_id", "payment_id"),
        body_limit=131_072,
        bundle_poll_seconds=0.25,
        log_vectors=False,
        journal_sync="async",
        journal_days=400,
        journal_most_gib=200,
        journal_segment_mib=128,
        journal_segment_minutes=5,
        journal_floor_mib=0,
        store_timeout_ms=4.0,
        event_ttl_days=30,
        answer_hours=48,
    )


def test_every_field_has_a_parser_that_takes_its_default() -> None:
    assert set(settings._PARSERS) == set(Settings.__struct_fields__)
    for name, shown in Settings().redacted().items():
        raw = ",".join(shown) if isinstance(shown, list) else str(shown)
        assert load({f"POINTSMAN_{name.upper()}": raw}) == Settings()


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ("POINTSMAN_PROT", "POINTSMAN_PORT"),
        ("POINTSMAN_JOURNAL_SINC", "POINTSMAN_JOURNAL_SYNC"),
        ("POINTSMAN_BUDGET", "POINTSMAN_BUDGET_MS"),
        ("POINTSMAN_port", "POINTSMAN_PORT"),
        ("POINTSMAN_", "POINTSMAN_"),
    ],
)
def test_an_unknown_variable_names_the_nearest_known_one(unknown: str, nearest: str) -> None:
    sentence = refused({unknown: "1"})
    assert sentence.startswith(f"{unknown}: ")
    assert nearest in sentence


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("PORT", "70000", "an integer from 1 to 65535"),
        ("PORT", "http", "an integer from 1 to 65535"),
        ("PORT", "", "an empty value"),
        ("HOST", "", "an empty value"),
        ("HOST", "a b", "a host name"),
        ("BUDGET_MS", "0", "milliseconds from 1 to 10000"),
        ("BUDGET_MS", "nan", "milliseconds from 1 to 10000"),
        ("BUDGET_MS", "1e3", "milliseconds from 1 to 10000"),
        ("LOG_LEVEL", "loud", "one of debug, info, warning, error"),
        ("LOG_VECTORS", "maybe", "true or false"),
        ("JOURNAL_SYNC", "half", "one of full, async"),
        ("JOURNAL", "", "a folder"),
        ("JOURNAL_DAYS", "0", "an integer from 1 to 3660"),
        ("JOURNAL_SEGMENT_MIB", "4096", "an integer from 1 to 2048"),
        ("JOURNAL_FLOOR_MIB", "-1", "an integer from 0 to"),
        ("BUNDLES", "", "a folder"),
        ("PAN_EXEMPT", "payment_id,merchant_segment", "`merchant_segment`"),
        ("STORE", "mysql://x", "memory://, memory:///path/to/snapshot, redis://"),
        ("STORE", "redis://", "redis://host:6379/0"),
        ("STORE", "redis://[", "redis://host:6379/0"),
        ("STORE", "redis+cluster://host:6379/0", "redis://host:6379/0"),
        ("EVENT_TTL_DAYS", "0", "an integer from 1 to 400"),
        ("EVENT_TTL_DAYS", "401", "an integer from 1 to 400"),
        ("EVENT_TTL_DAYS", "1.5", "an integer from 1 to 400"),
        ("ANSWER_HOURS", "0", "an integer from 1 to 168"),
        ("ANSWER_HOURS", "169", "an integer from 1 to 168"),
        ("BODY_LIMIT", "10", "an integer from 1024"),
    ],
)
def test_a_wrong_value_says_what_was_expected_what_came_and_where(name: str, raw: str, expected: str) -> None:
    sentence = refused({f"POINTSMAN_{name}": raw})
    assert sentence.startswith(f"POINTSMAN_{name}: expected ")
    assert expected in sentence


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hunter2@host:6379/0",
        "redis://:hunter2@host:6379/0",
        "rediss://hunter2@host:6379/0",
        "redis://host:6379/0?password=hunter2&db=1",
        "redis://a:hunter2@b:hunter2@host/0",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    chosen = load({"POINTSMAN_STORE": url})
    assert "hunter2" not in str(chosen.redacted())
    assert "hunter2" not in repr(chosen)
    assert "host" in str(chosen.redacted()["store"])
    assert "hunter2" not in refused({"POINTSMAN_STORE": url.replace("redis", "reddis")})


def test_settings_cannot_be_changed_and_can_be_logged() -> None:
    with pytest.raises(AttributeError):
        Settings().port = 1  # type: ignore[misc]
    assert msgspec.json.decode(msgspec.json.encode(Settings().redacted()))["journal"] == "var/journal"
