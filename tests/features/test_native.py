"""The kernels in C against the Python they stand in for: whatever the bytes are, the same answers."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.bundle import Encoding
from contracts.hierarchy import Level
from contracts.payment import Decline, Payment, RetryRequest
from features import newest, state, undo
from features.assemble import Plan
from features.catalog import CATALOG
from features.clock import DAY, HOUR, MINUTE, SECOND
from features.effects import Effects, shifted_all
from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS
from features.increment import attempt_increment, chargeback_increment, result_increment, taken_back
from features.layout import LAYOUTS
from features.native import IS_NATIVE, effects
from features.native import shifted_all as native_shifted
from features.state import add

pytestmark = pytest.mark.skipif(not IS_NATIVE, reason="the kernels were not built: no C compiler here")

NOON = 1_780_012_800 * SECOND
WORDS = ("visa", "DE", "a|b", "north", "", "é", "m_1")
COUNTRY = st.none() | st.sampled_from(("DE", "FR", "GB"))
WORD = st.sampled_from(WORDS)


def encodings(seed: int) -> dict[str, Encoding]:
    """Rates of categories of every number of parts, some with the separator inside a part."""
    chance = random.Random(seed)
    found = {}
    for spec in CATALOG:
        if spec.target is not None:
            keys = {"|".join(chance.choice(WORDS) for _ in spec.inputs) for _ in range(40)}
            found[spec.name] = Encoding(default=chance.random(), values={key: chance.random() for key in keys})
    return found


def history(kind: str, chance: random.Random, at: int) -> bytes | None:
    blob = None
    for _ in range(chance.choice([0, 1, 3, 30, 200])):
        then = at - chance.choice([0, 1, SECOND, MINUTE, HOUR, DAY, 40 * DAY]) * chance.randrange(4)
        event: Any = chance.choice(
            [
                attempt_increment(then, chance.choice([0, 1250, 2**33, 2**62])),
                result_increment(
                    then, chance.choice(["approved", "declined", "error"]), "visa", chance.choice(["51", "05"])
                ),
                chargeback_increment(then),
            ]
        )
        blob = add(LAYOUTS[kind], blob, event, chance.randrange(12) if event.is_attempt else None)
    if blob is not None and chance.random() < 0.15:
        cut = bytearray(blob)
        cut[chance.randrange(min(len(cut), 16))] ^= 1 << chance.randrange(8)
        blob = bytes(cut[: chance.choice([len(cut), len(cut) - 1, 5, 0])])
    return blob


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    at=st.sampled_from((NOON, NOON + 13 * HOUR + 7, 0, 5 * MINUTE, 89 * DAY)),
    names=st.lists(WORD, max_size=4),
    payment=st.builds(
        Payment,
        payment_id=st.just("p"),
        merchant_id=st.just("m"),
        amount_minor=st.sampled_from((1, 100, 1250, 10**12)),
        currency=st.sampled_from(("EUR", "JPY", "KWD", "XXX")),
        card_token=st.just("c"),
        card_network=WORD,
        issuer_country=st.sampled_from(("DE", "FR")),
        merchant_country=COUNTRY,
        ip_country=COUNTRY,
        merchant_segment=st.none() | WORD,
        card_funding=st.none() | WORD,
        is_network_token=st.none() | st.booleans(),
        uses_3ds=st.none() | st.booleans(),
        fraud_score=st.none() | st.floats(0, 1),
        initiator=st.sampled_from((None, "customer", "merchant")),
        cvv_result=st.none() | WORD,
    ),
)
def test_rows_are_the_same_bytes(seed: int, at: int, names: list[str], payment: Payment) -> None:
    from features.plan_native import NativePlan

    chance = random.Random(seed)
    rates = encodings(seed % 7)
    told: tuple[list[Any], list[Any]] = ([], [])
    plans = [
        make(rates, lambda *what, into=into: into.append(what))
        for make, into in zip((Plan, NativePlan), told, strict=True)
    ]
    states = [history(kind, chance, at) for kind in PAYMENT_KINDS] if seed % 5 else []
    candidates = [[history(kind, chance, at) for kind in CANDIDATE_KINDS] for _ in names] if seed % 3 else []
    first, second = (plan.rows(payment, at, states, names, candidates) for plan in plans)
    assert first.tobytes() == second.tobytes()
    # An entity that is kept from one payment to the next is told of once by the one, each time by the other.
    assert set(told[0]) == set(told[1])
    retry = RetryRequest(
        **{name: getattr(payment, name) for name in payment.__struct_fields__ if hasattr(RetryRequest, name)},
        decline=Decline(processor="north", response_code=chance.choice([None, "51", "a|b"])),
    )
    waits = [chance.choice([0, 60, 86_400, 30 * 86_400]) for _ in range(seed % 4)]
    first, second = (plan.retry_rows(first, retry, at, names, waits) for plan in plans)
    assert first.shape == second.shape
    assert np.array_equal(first.view(np.uint32), second.view(np.uint32))


@pytest.mark.parametrize("kind", LAYOUTS)
def test_what_is_added_and_what_was_seen_are_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from features import state_native

    monkeypatch.setattr(state, "add_quickly", newest.add_to_newest)
    chance = random.Random(kind)
    layout = LAYOUTS[kind]
    quick = new = 0
    for _ in range(400):
        blob = history(kind, chance, NOON)
        then = NOON + chance.choice([0, 0, 0, 1, -1, HOUR, DAY, 40 * DAY, -NOON - 1])
        made: Any = chance.choice(
            [
                attempt_increment(then, chance.choice([0, 5, 2**31, 2**40])),
                attempt_increment(then, 5),
                result_increment(then, chance.choice(["approved", "declined", "error"])),
                chargeback_increment(then),
                taken_back(result_increment(then, "error")),
            ]
        )
        member = chance.choice([None, *range(12)])
        quickly = state_native.add_in_order(layout, blob, made, member)
        if quickly is not None:
            quick += 1
            new += newest.add_to_newest(layout, blob, made, member) is None
            assert quickly == add(layout, blob, made, member)
        assert state_native.last_seen(layout, blob, member) == undo.last_seen(layout, blob, member)
    # Most of what comes in order is plain, also in a tile of its own and with a value that is new.
    assert quick > 30
    assert new > 10


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_state_grows_the_same_from_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from features import state_native

    monkeypatch.setattr(state, "add_quickly", newest.add_to_newest)
    chance = random.Random(kind)
    layout, at = LAYOUTS[kind], NOON
    mine = theirs = None
    for _ in range(600):
        at += chance.choice([0, SECOND, MINUTE, HOUR, HOUR, 5 * HOUR, DAY])
        made: Any = chance.choice(
            [attempt_increment(at, 1250), result_increment(at, "approved"), chargeback_increment(at)]
        )
        member = chance.randrange(30) if made.is_attempt else None
        quickly = state_native.add_in_order(layout, mine, made, member)
        theirs = add(layout, theirs, made, member)
        mine = theirs if quickly is None else quickly
        assert mine == theirs


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    names=st.lists(WORD, max_size=4),
    odds=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    moves=st.lists(st.sampled_from((0.0, -0.0, 0.3, -4.0, 60.0)), min_size=4, max_size=4),
)
def test_effects_are_the_same_floats(seed: int, names: list[str], odds: list[float], moves: list[float]) -> None:
    chance = random.Random(seed)
    fields = ("card_network", "abroad", "amount_band", "merchant_id", "attempt", "uses_3ds", "merchant_country")
    levels = []
    for _ in range(chance.randrange(4)):
        mine = chance.sample(fields, chance.randrange(4))
        keys = {"|".join(chance.choice([*WORDS, "1", "0", "5"]) for _ in range(len(mine) + 1)) for _ in range(60)}
        offsets = {key: chance.uniform(-1, 1) for key in keys}
        levels.append(Level(fields=("processor", *mine), spread=1.0, offsets=offsets))
    payment = Payment(
        payment_id="p",
        merchant_id=chance.choice(WORDS),
        amount_minor=chance.choice([1, 100, 1500]),
        currency="EUR",
        card_token="c",
        card_network=chance.choice(WORDS),
        issuer_country="DE",
        merchant_country=chance.choice([None, "DE", "FR"]),
        uses_3ds=chance.choice([None, True, False]),
    )
    reference, kernel = Effects(levels), effects(levels)
    assert bool(kernel) == bool(reference)
    assert kernel.offsets(payment, names) == reference.offsets(payment, names)
    several = odds * 2
    assert native_shifted(several, moves[: len(odds)]) == shifted_all(several, moves[: len(odds)])
