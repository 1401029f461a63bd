"""The packed state of one entity: what is added is what its windows say."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import state
from features.clock import DAY, HOUR, MINUTE, SECOND
from features.increment import (
    CODES,
    Increment,
    attempt_increment,
    chargeback_increment,
    deltas,
    member,
    result_increment,
)
from features.layout import INDEX, LAYOUTS, MEASURES, MOST_ROWS, VERSION, Layout, Ring
from features.newest import add_to_newest
from features.seen import LastSeen
from features.state import View, add, empty, is_readable, readable, trouble
from features.undo import last_seen

CARD = LAYOUTS["card"]
NOON = 1_780_012_800 * SECOND


def built(*increments: Increment, layout: Layout = CARD, blob: bytes | None = None) -> bytes:
    for increment in increments:
        blob = add(layout, blob, increment)
    return empty(layout) if blob is None else blob


def sums(blob: bytes, width: int, now: int, layout: Layout = CARD) -> dict[str, int]:
    hop = next(ring.hop for ring in layout.rings if ring.reach >= width)
    return {name: View(layout, blob).window(name, width, hop, now) for name in layout.measures}


def test_an_empty_state_has_nothing_in_any_window() -> None:
    for layout in LAYOUTS.values():
        view = View(layout, empty(layout))
        for ring in layout.rings:
            assert not any(view.window(name, ring.reach, ring.hop, NOON) for name in layout.measures)
        assert (view.last_attempt, view.last_result, view.last_approved, view.last_code) == (0, 0, 0, 0)


def test_a_window_starts_at_the_hop_it_begins_in_and_ends_before_now() -> None:
    hop = 5 * MINUTE
    assert NOON % hop == 0
    for at, inside in ((NOON - HOUR - 1, False), (NOON - HOUR, True), (NOON - 1, True)):
        assert sums(built(attempt_increment(at, 100)), HOUR, NOON)["attempts"] == int(inside), at
    # The sawtooth: until the hop is full, the window reaches a little further back.
    assert sums(built(attempt_increment(NOON - HOUR, 100)), HOUR, NOON + hop - 1)["attempts"] == 1
    assert sums(built(attempt_increment(NOON - HOUR, 100)), HOUR, NOON + hop)["attempts"] == 0


def test_attempts_results_and_chargebacks_are_counted_apart() -> None:
    blob = built(
        attempt_increment(NOON - 10, 250),
        result_increment(NOON - 9, "approved"),
        attempt_increment(NOON - 8, 50),
        result_increment(NOON - 7, "declined", "visa", "51"),
        result_increment(NOON - 6, "declined", "visa", "05"),
        chargeback_increment(NOON - 5),
    )
    expected = {"attempts": 2, "amount_minor": 300, "results": 3, "approved": 1, "declined": 2, "funds": 1}
    none = {"never": 0, "fix_data": 0, "authenticate": 0}
    assert sums(blob, HOUR, NOON) == {**expected, **none, "chargebacks": 1}
    view = View(CARD, blob)
    assert (view.last_attempt, view.last_amount) == (NOON - 8, 50)
    assert (view.last_result, view.last_approved, view.last_code) == (NOON - 6, NOON - 9, CODES["declined"])


def test_a_late_event_counts_in_the_windows_it_belongs_to_and_no_other() -> None:
    blob = built(
        attempt_increment(NOON - 2 * HOUR, 1),
        attempt_increment(NOON - MINUTE, 2),
        attempt_increment(NOON - 3 * HOUR, 4),
        attempt_increment(NOON - 40 * DAY, 8),
        attempt_increment(NOON - 400 * DAY, 16),
    )
    found = {width: sums(blob, width, NOON)["amount_minor"] for width in (HOUR, DAY, 30 * DAY, 90 * DAY)}
    assert found == {HOUR: 2, DAY: 7, 30 * DAY: 7, 90 * DAY: 15}
    view = View(CARD, blob)
    assert (view.last_attempt, view.last_amount) == (NOON - MINUTE, 2)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_minutes_thin_out_to_hours_and_days_and_every_window_stays_exact(kind: str) -> None:
    layout = LAYOUTS[kind]
    chance = random.Random(kind)
    events = []
    at, blob = NOON, None
    for _ in range(1500):
        at += chance.choice([1, SECOND, 10 * SECOND, MINUTE, 20 * MINUTE, HOUR, 7 * HOUR])
        made = chance.choice(
            [attempt_increment(at, chance.randrange(10**6)), result_increment(at, "approved"), chargeback_increment(at)]
        )
        events.append(made)
        blob = add(layout, blob, made)
    assert blob is not None
    view = View(layout, blob)
    # Not the sum of all rings: they share rows.
    assert len(view.tiles) <= sum(ring.tiles for ring in layout.rings) <= MOST_ROWS
    taken = [event for event in events if layout.takes(event.deltas)]
    for ring in layout.rings:
        start = (at + 1 - ring.reach) // ring.hop * ring.hop
        for name in layout.measures:
            expected = sum(event.deltas[INDEX[name]] for event in taken if event.at >= start)
            assert view.window(name, ring.reach, ring.hop, at + 1) == expected, (ring.reach, name)


def test_a_card_of_a_dozen_payments_takes_a_few_hundred_bytes() -> None:
    blob = None
    for number in range(12):
        at = NOON + number * 5 * DAY
        blob = add(CARD, blob, attempt_increment(at, 5000), member(f"shop {number % 3}"))
        blob = add(CARD, blob, result_increment(at + SECOND, "approved"))
    assert blob is not None
    assert len(blob) < 700


def test_sums_of_counts_and_amounts_wrap_without_touching_a_window() -> None:
    merchant = LAYOUTS["merchant"]
    view = View(merchant)
    place = merchant.place["amount_minor"]
    # A shop that has almost filled its words: 2^32 attempts, 2^64 minor units.
    full = [2**32 - 1] * merchant.words
    view.sums = tuple(full)
    view.replace([NOON // merchant.hop - 1], [(0,) * merchant.words])
    blob = view.packed()
    for number in range(3):
        blob = add(merchant, blob, attempt_increment(NOON + number, 10**12))
    after = View(merchant, blob)
    assert after.sums[merchant.place["attempts"]] == 2
    assert after.sums[place] + (after.sums[place + 1] << 32) == 3 * 10**12 - 1
    assert sums(blob, HOUR, NOON + 2 * HOUR, merchant)["attempts"] == 0
    width, hop = HOUR, merchant.rings[0].hop
    late = (NOON + HOUR) // hop * hop
    assert after.window("attempts", width, hop, late) == 3
    assert after.window("amount_minor", width, hop, late) == 3 * 10**12


def test_the_decayed_rate_halves_with_each_half_life() -> None:
    issuer = LAYOUTS["issuer"]
    half = issuer.half_life
    view = View(
        issuer,
        built(
            result_increment(NOON - 2 * half, "approved"),
            result_increment(NOON - half, "declined"),
            result_increment(NOON, "timeout"),
            layout=issuer,
        ),
    )
    assert view.decayed == (1.75, 0.25, 1.0)
    late = View(issuer, add(issuer, view.packed(), result_increment(NOON - 3 * half, "approved")))
    assert late.decayed == (1.875, 0.375, 1.0)
    assert late.last_result == NOON


def test_the_last_result_of_one_moment_is_the_same_in_any_order() -> None:
    results = [
        result_increment(NOON, status, "visa", code) for status, code in (("declined", "51"), ("approved", None))
    ]
    assert View(CARD, built(*results)).last_code == View(CARD, built(*reversed(results))).last_code == CODES["approved"]


def test_declines_in_a_row_are_counted_from_the_last_approval_in_any_order() -> None:
    events = [result_increment(NOON + at, "declined") for at in (1, 2, 3, 3, 7)]
    events += [result_increment(NOON + 2, "approved"), result_increment(NOON + 5, "timeout")]
    for seed in range(20):
        random.Random(seed).shuffle(events)
        assert View(CARD, built(*events)).streak == [NOON + 7, NOON + 3, NOON + 3]
    many = built(*(result_increment(NOON + at, "declined") for at in range(20)))
    assert View(CARD, many).streak == [NOON + at for at in range(19, 11, -1)]


def test_the_values_seen_last_are_remembered_and_no_more_than_fit() -> None:
    device = LAYOUTS["device"]
    blob = None
    for number in range(12):
        blob = add(device, blob, attempt_increment(NOON + number * MINUTE, 1), number)
    # Seen again, and seen earlier than known: only the latest time counts.
    blob = add(device, blob, attempt_increment(NOON + 20 * MINUTE, 1), 5)
    blob = add(device, blob, attempt_increment(NOON, 1), 11)
    view = View(device, blob)
    assert [value for value, _ in view.members] == [5, 11, 10, 9, 8, 7, 6, 4]
    assert view.members[0][1] == (NOON + 20 * MINUTE) // device.hop


@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_order_of_events_does_not_matter(kind: str) -> None:
    layout = LAYOUTS[kind]
    chance = random.Random(kind)
    events = []
    for _ in range(250):
        at = NOON + chance.choice([chance.randrange(120 * DAY), 120 * DAY + chance.randrange(2 * HOUR), 60 * DAY])
        one = chance.choice(
            [
                attempt_increment(at, chance.choice([0, 10**12])),
                result_increment(at, chance.choice(["approved", "declined", "error"]), "visa", "51"),
                chargeback_increment(at),
            ]
        )
        events.append((one, chance.randrange(12) if one.is_attempt else None))
    states = []
    for seed in range(4):
        random.Random(seed).shuffle(events)
        blob = None
        for one, value in events:
            blob = add(layout, blob, one, value)
        view = View(layout, blob)
        states.append((view.decayed, view))
    for decayed, view in states:
        # Floating-point sums depend on their order in the last bits; nothing else does.
        assert decayed == pytest.approx(states[0][0], rel=1e-12)
        view.decayed = (0.0, 0.0, 0.0)
    assert len({view.packed() for _, view in states}) == 1


@given(st.lists(st.tuples(st.integers(0, 120 * DAY), st.integers(0, 10**12)), min_size=1, max_size=30), st.randoms())
def test_any_order_of_attempts_gives_the_same_bytes(events: list[tuple[int, int]], chance: random.Random) -> None:
    increments = [attempt_increment(NOON + at, amount) for at, amount in events]
    shuffled = list(increments)
    chance.shuffle(shuffled)
    assert built(*shuffled) == built(*increments)


def test_an_event_that_a_kind_does_not_count_is_none_of_its_events() -> None:
    layout = LAYOUTS["processor_bin"]
    blob = built(result_increment(NOON, "approved"), layout=layout)
    assert add(layout, blob, attempt_increment(NOON + DAY, 5)) == blob
    assert add(layout, blob, chargeback_increment(NOON + DAY)) == blob


BAD = {
    "nothing": (b"", "corrupt"),
    "one byte": (b"\x02", "corrupt"),
    "cut": (empty(CARD)[:-1], "corrupt"),
    "longer": (empty(CARD) + b"\x00", "corrupt"),
    "no version of ours": (b"\xff" + empty(CARD)[1:], "corrupt"),
    "the version before": (b"\x01" + empty(CARD)[1:], "version"),
    "another layout": (empty(LAYOUTS["processor"]), "version"),
    "more rows than fit": (
        empty(CARD)[:6] + struct.pack("<H", 500) + empty(CARD)[8:] + bytes(500 * (4 + 4 * CARD.words)),
        "corrupt",
    ),
}


@pytest.mark.parametrize(("blob", "what"), BAD.values(), ids=BAD)
def test_a_state_that_cannot_be_read_counts_as_never_seen_and_says_why(blob: bytes, what: str) -> None:
    assert trouble(CARD, blob) == what
    assert readable(CARD, blob) is None
    assert add(CARD, blob, attempt_increment(NOON, 5)) == built(attempt_increment(NOON, 5))
    assert last_seen(CARD, blob, 1) == LastSeen()


@given(st.binary(max_size=600))
def test_no_bytes_crash_the_reader(blob: bytes) -> None:
    if is_readable(CARD, blob):
        sums(blob, HOUR, NOON)
    assert is_readable(CARD, add(CARD, blob, attempt_increment(NOON, 5)))


@given(st.binary(min_size=0, max_size=400), st.integers(0, 2))
def test_no_bytes_after_a_good_head_crash_the_reader(rest: bytes, rows: int) -> None:
    blob = CARD.mark + struct.pack("<HBB", rows, 1, 1) + rest
    assert is_readable(CARD, add(CARD, blob, attempt_increment(NOON, 5)))


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_state_taken_apart_and_packed_again_is_the_same(kind: str) -> None:
    layout = LAYOUTS[kind]
    chance = random.Random(7)
    blob = None
    for number in range(60):
        blob = add(layout, blob, attempt_increment(NOON + number * HOUR, chance.randrange(10**12)), number % 9)
        blob = add(layout, blob, result_increment(NOON + number * HOUR + 1, "declined", "visa", "14"))
        assert View(layout, blob).packed() == blob
        assert blob[0] == VERSION


@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_quick_way_into_the_newest_tile_gives_the_same_bytes(kind: str) -> None:
    layout = LAYOUTS[kind]
    chance = random.Random(kind)
    blob, quick = None, 0
    at = NOON
    for _ in range(800):
        at += chance.choice([0, 0, 1, SECOND, SECOND, MINUTE, HOUR])
        made = chance.choice(
            [
                attempt_increment(at, chance.choice([0, 5, 2**31, 10**12])),
                result_increment(
                    at - chance.choice([0, 0, 0, SECOND]), chance.choice(["approved", "declined", "error"])
                ),
                chargeback_increment(at),
            ]
        )
        value = chance.randrange(4) if made.is_attempt else None
        after = add(layout, blob, made, value)
        if blob is not None and (quickly := add_to_newest(layout, blob, made, value)) is not None:
            quick += 1
            # The same by the long way: the state taken apart, and its tiles and rows put together again.
            view = View(layout, blob)
            view.replace(list(view.tiles), list(view.rows))
            assert quickly == after == added_the_long_way(layout, view.packed(), made, value)
        blob = after
    assert quick > 50


def added_the_long_way(layout: Layout, blob: bytes, made: Increment, value: int | None) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "add_quickly", lambda *_: None)
        return add(layout, blob, made, value)


def test_deltas_name_their_measures() -> None:
    assert deltas(chargebacks=2)[INDEX["chargebacks"]] == 2
    assert len(deltas()) == len(MEASURES)
    with pytest.raises(KeyError):
        deltas(nonsense=1)


def test_a_layout_that_could_not_be_exact_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number of hops"):
        Ring(7 * MINUTE, HOUR)
    with pytest.raises(ValueError, match="multiple of the finer"):
        Layout("odd", ("attempts",), ((4 * MINUTE, HOUR), (6 * MINUTE, DAY)), HOUR)
    with pytest.raises(ValueError, match="20 half-lives"):
        Layout("odd", ("attempts",), ((HOUR, DAY),), 2 * HOUR)
