"""One payment's rows: absence, what was never seen, unreadable states, and what a bundle must bring."""

import random

import msgspec
import numpy as np
import pytest

from contracts.payment import Decline, Payment, RetryRequest
from features.assemble import RETRY_WIDTH, WIDTH, Plan
from features.catalog import CATALOG, NAMES, POSITION
from features.clock import DAY, HOUR, MINUTE, SECOND
from features.encoding import neutral
from features.entity import CANDIDATE_KINDS, FIELDS, PAYMENT_KINDS, candidate_keys, key, payment_keys
from features.fields import UNITS
from features.increment import attempt_increment, member, result_increment
from features.layout import LAYOUTS
from features.spec import ABSENT
from features.state import add, empty
from tests.features.both import Both

NOON = 1_780_012_800 * SECOND
ENCODINGS = {spec.name: neutral(0.5) for spec in CATALOG if spec.target is not None}
PLAN = Both(ENCODINGS)
BARE = Payment(
    payment_id="p",
    merchant_id="m",
    amount_minor=1250,
    currency="EUR",
    card_token="c",
    card_network="visa",
    issuer_country="DE",
)


def states(**blobs: bytes) -> list[bytes | None]:
    return [blobs.get(kind) for kind in PAYMENT_KINDS]


def value(name: str, plan: Plan = PLAN, at: int = NOON, **blobs: bytes) -> float:
    return float(plan.rows(BARE, at, states(**blobs), ["north"], [])[0][POSITION[name]])


def test_every_absent_field_has_the_absent_value_and_none_is_invented() -> None:
    row = PLAN.rows(BARE, NOON, [], ["north"], [])[0]
    absent = {NAMES[position] for position in np.flatnonzero(row == ABSENT)}
    assert {spec.name for spec in CATALOG if spec.entity} <= absent
    assert {"is_network_token", "uses_3ds", "fraud_score", "initiator_is_merchant"} <= absent
    present = {"amount_minor_major", "attempt", "at_hour", "cvv_result_present", "currency_approval_prior"}
    assert present.isdisjoint(absent)
    assert row[POSITION["amount_minor_major"]] == np.float32(12.5)


def test_seen_without_anything_in_the_window_is_not_never_seen() -> None:
    blob = add(LAYOUTS["card"], None, attempt_increment(NOON - 3 * DAY, 10))
    assert value("card_attempts_1h") == ABSENT
    assert value("card_attempts_1h", card=blob) == 0.0
    long_ago = add(LAYOUTS["card"], None, attempt_increment(NOON - 101 * DAY, 10))
    assert value("card_attempts_1h", card=long_ago) == ABSENT
    assert value("card_attempts_1h", card=empty(LAYOUTS["card"])) == ABSENT


@pytest.mark.parametrize("spec", [spec for spec in CATALOG if spec.entity], ids=lambda spec: spec.name)
def test_never_seen_has_its_own_value_in_every_feature_of_an_entity(spec) -> None:
    layout = spec.layout
    old = add(layout, None, result_increment(NOON - 2 * layout.horizon, "approved"))
    old = add(layout, old, attempt_increment(NOON - 2 * layout.horizon, 5), 1)
    for blob in (None, old, empty(layout)):
        if spec.entity in PAYMENT_KINDS:
            row = PLAN.rows(BARE, NOON, [blob if kind == spec.entity else None for kind in PAYMENT_KINDS], ["n"], [])
        else:
            row = PLAN.rows(
                BARE, NOON, [], ["n"], [[blob if kind == spec.entity else None for kind in CANDIDATE_KINDS]]
            )
        assert row[0][POSITION[spec.name]] == np.float32(spec.default)


def test_a_rate_without_results_is_absent_and_with_results_is_their_share() -> None:
    blob = add(LAYOUTS["card"], None, attempt_increment(NOON - HOUR, 10))
    assert value("card_approved_per_results_24h", card=blob) == ABSENT
    for status in ("approved", "declined", "declined"):
        blob = add(LAYOUTS["card"], blob, result_increment(NOON - 10, status))
    assert value("card_approved_per_results_24h", card=blob) == np.float32(1 / 3)


def test_last_values_streaks_sets_and_decay_are_read_from_the_state() -> None:
    blob = None
    for number in range(3):
        blob = add(LAYOUTS["card"], blob, attempt_increment(NOON - 10 * HOUR + number, 10), member(f"m{number}"))
    blob = add(LAYOUTS["card"], blob, result_increment(NOON - 9 * HOUR, "approved"))
    for number in range(2):
        blob = add(LAYOUTS["card"], blob, result_increment(NOON - 2 * HOUR + number, "declined", "visa", "51"))
    found = {name: value(name, card=blob) for name in NAMES if name.startswith("card_") and "prior" not in name}
    assert found["card_distinct_merchant_id_24h"] == 3
    assert found["card_consecutive_declines"] == 2
    assert (found["card_last_was_approved"], found["card_last_was_funds"]) == (0, 1)
    assert found["card_seconds_since_approved"] == 9 * 3600
    assert found["card_funds_per_declined_30d"] == 1.0
    kept = 2.0 ** (-7 * HOUR / LAYOUTS["card"].half_life)
    assert found["card_approved_decayed"] == pytest.approx(kept / (kept + 2), rel=1e-6)


def test_a_clock_ahead_of_ours_gives_no_negative_time() -> None:
    blob = add(LAYOUTS["card"], None, attempt_increment(NOON + 4 * MINUTE, 10))
    assert value("card_seconds_since_attempt", card=blob) == 0.0


@pytest.mark.parametrize("at", [0, 1, DAY, -DAY, -400 * DAY, 2**53])
def test_at_the_ends_of_time_nothing_that_never_was_is_seen(at: int) -> None:
    """A time of 0 stands for never, and the longest window of 1970 reaches back behind it."""
    blob = add(LAYOUTS["card"], None, attempt_increment(at - 1, 0))
    for name in ("card_approved_decayed", "card_last_was_approved", "card_seconds_since_approved"):
        assert value(name, at=at, card=blob) == ABSENT
    late = add(LAYOUTS["card"], None, result_increment(at - 1, "approved"))
    assert value("card_seconds_since_attempt", at=at, card=late) == ABSENT


@pytest.mark.parametrize("kind", PAYMENT_KINDS)
def test_a_state_that_cannot_be_read_is_never_seen_and_told(kind: str) -> None:
    told: list[tuple[str, str]] = []
    plan = Both(ENCODINGS, lambda *what: told.append(what))
    never = plan.rows(BARE, NOON, [], ["n"], [])
    assert told == []
    good = add(LAYOUTS[kind], None, attempt_increment(NOON, 5))
    for blob in (b"", b"\x02", good[:-1], b"\x01" + good[1:], bytes(len(good))):
        row = plan.rows(BARE, NOON, [blob if each == kind else None for each in PAYMENT_KINDS], ["n"], [])
        assert row.tobytes() == never.tobytes()
    assert told == [(kind, what) for what in ("corrupt", "corrupt", "corrupt", "version", "corrupt")]


def test_rows_follow_the_candidates_and_one_stands_for_none() -> None:
    assert PLAN.rows(BARE, NOON, [], [], []).shape == (1, WIDTH)
    three = PLAN.rows(BARE, NOON, [], ["a", "b", "c"], [(None, None, None)] * 3)
    assert three.shape == (3, WIDTH)
    assert three.dtype == np.float32
    three[0, 0] = 7
    retries = PLAN.retry_rows(three, retry(), NOON, ["a", "b", "c"], [0, 60])
    assert retries.shape == (6, RETRY_WIDTH) == (6, len(CATALOG))
    assert retries[:3, :WIDTH].tobytes() == retries[3:, :WIDTH].tobytes() == three.tobytes()
    assert retries[:, POSITION["wait_seconds"]].tolist() == [0, 0, 0, 60, 60, 60]
    assert retries[:, POSITION["same_processor"]].tolist() == [0, 1, 0] * 2


def retry() -> RetryRequest:
    fields = {name: getattr(BARE, name) for name in BARE.__struct_fields__}
    return RetryRequest(**fields, decline=Decline(processor="b"))


def test_a_plan_without_an_encoding_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="currency_approval_prior"):
        Plan({name: encoding for name, encoding in ENCODINGS.items() if name != "currency_approval_prior"})


def test_currencies_keep_their_own_minor_units() -> None:
    assert (UNITS["EUR"], UNITS["JPY"], UNITS["KWD"]) == (100.0, 1.0, 1000.0)


def test_the_keys_of_a_payment_are_those_of_its_fields() -> None:
    named = dict(zip(PAYMENT_KINDS, payment_keys(BARE), strict=True))
    named |= zip(CANDIDATE_KINDS, candidate_keys(BARE, "north"), strict=True)
    values = {**{name: getattr(BARE, name) for name in BARE.__struct_fields__}, "processor": "north"}
    assert named == {kind: key(*(values[field] for field in fields)) for kind, fields in FIELDS.items()}


def lived(kind: str, seed: int) -> bytes:
    """Return a state with everything in it."""
    chance = random.Random(seed)
    blob = b""
    for number in range(60):
        at = NOON - chance.randrange(1, LAYOUTS[kind].horizon)
        blob = add(LAYOUTS[kind], blob, attempt_increment(at, 10 ** chance.randrange(13)), number)
        blob = add(LAYOUTS[kind], blob, result_increment(at, chance.choice(["approved", "declined", "error"])))
    return blob


@pytest.mark.parametrize("kind", LAYOUTS)
def test_no_bytes_under_a_good_mark_crash_the_plan_or_give_what_is_no_number(kind: str) -> None:
    chance = random.Random(kind)
    good = lived(kind, 1)
    offset = 6

    def rows(blob: bytes) -> np.ndarray:
        if kind in PAYMENT_KINDS:
            return PLAN.rows(BARE, NOON, [blob if each == kind else None for each in PAYMENT_KINDS], ["n"], [])
        return PLAN.rows(BARE, NOON, [], ["n"], [[blob if each == kind else None for each in CANDIDATE_KINDS]])

    for place in range(offset, len(good)):
        for mask in (1 << chance.randrange(8), 0xFF):
            altered = good[:place] + bytes([good[place] ^ mask]) + good[place + 1 :]
            assert np.isfinite(rows(altered)).all(), (place, mask)
    decayed_at = LAYOUTS[kind].head_size - 24
    for numbers in (np.zeros(3), np.full(3, np.nan), np.full(3, np.inf), np.array([1e-320, 1e300, -1.0])):
        altered = good[:decayed_at] + numbers.astype("<f8").tobytes() + good[decayed_at + 24 :]
        assert np.isfinite(rows(altered)).all()


@pytest.mark.parametrize("kind", CANDIDATE_KINDS)
def test_values_kept_from_the_payment_before_are_never_stale(kind: str) -> None:
    """Another state, another moment, another entity, or none: each is what a plan that has seen nothing would say."""
    chance = random.Random(3)
    blobs = [None, b"", *(lived(kind, seed) for seed in range(3))]
    plan = Plan(ENCODINGS)
    for _ in range(80):
        at = NOON + chance.choice([0, 1, SECOND, 10 * SECOND, MINUTE, HOUR, 3 * DAY, 90 * DAY])
        shown = {"issuer_country": chance.choice(["DE", "FR"]), "card_bin": chance.choice(["411111", "555555", None])}
        asked = msgspec.structs.replace(BARE, **shown)
        blob, name = chance.choice(blobs), chance.choice(["a", "b"])
        known = [blob if each == kind else None for each in PAYMENT_KINDS]
        candidates = [[blob if each == kind else None for each in CANDIDATE_KINDS]]
        found, fresh = (each.rows(asked, at, known, [name], candidates) for each in (plan, Plan(ENCODINGS)))
        assert found.tobytes() == fresh.tobytes()
