"""The budget of attempts: no window ever holds more than its limit, whatever the order in which they come."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.clock import DAY, SECOND
from service import ledger
from service.ledger import (
    APPROVED,
    ENTRY,
    FAILED,
    KEPT_US,
    MOST,
    RESERVED,
    Entry,
    Limit,
    attempt_id,
    entries,
    key_of,
    pack,
    release,
    reserve,
    settle,
    used,
)

START = 1_780_000_000 * SECOND
MONTH = Limit(30 * DAY, 3)

moments = st.one_of(st.integers(0, 9), st.integers(0, 40)).map(lambda days: START + days * DAY)
numbers = st.integers(1, 12)
amounts = st.sampled_from([100, 250])
reservations = st.builds(Entry, moments, numbers, amounts, st.just(RESERVED))
limits = st.lists(
    st.builds(
        Limit,
        st.sampled_from([DAY, 7 * DAY, 30 * DAY]),
        st.integers(0, 3),
        st.sampled_from([None, None, 100]),
        st.booleans(),
    ),
    min_size=1,
    max_size=3,
)
settled = st.sampled_from([FAILED, APPROVED])
moves = st.one_of(
    st.tuples(st.just("reserve"), reservations),
    # One that was sent without being asked about.
    st.tuples(st.just("approved"), st.builds(Entry, moments, st.integers(20, 23), amounts, st.just(APPROVED))),
    st.tuples(st.just("settle"), numbers, settled),
    st.tuples(st.just("release"), numbers),
)


def reserved(*given: Entry) -> bytes | None:
    blob = None
    for entry in given:
        blob = reserve(blob, entry, ())
    return blob


def of(blob: bytes | None, attempt: int) -> Entry | None:
    return next((entry for entry in entries(blob) if entry.attempt == attempt), None)


def overflow(attempts: Sequence[Entry], limit: Limit) -> int:
    """Return by how much the fullest window that ends with an attempt exceeds its limit: counted the plain way."""
    worst = 0
    for last in attempts:
        start = last.at - limit.window_us
        if limit.resets:
            start = max([start, *[entry.at for entry in attempts if entry.status == APPROVED and entry.at <= last.at]])
        count = sum(
            entry.status != APPROVED
            and start < entry.at <= last.at
            and limit.amount_minor in (None, entry.amount_minor)
            for entry in attempts
        )
        worst = max(worst, count - limit.most)
    return worst


@given(limits, st.lists(reservations, max_size=40))
def test_no_window_overflows_in_whatever_order_attempts_are_reserved(
    given_limits: list[Limit], given_entries: list[Entry]
) -> None:
    blob = None
    for entry in given_entries:
        after = reserve(blob, entry, given_limits)
        blob = blob if after is None else after
    for limit in given_limits:
        assert overflow(entries(blob), limit) <= 0


@settings(max_examples=300)
@given(limits, st.lists(moves, max_size=40))
def test_no_window_overflows_when_attempts_are_settled_and_released_between(
    given_limits: list[Limit], given_moves: list[tuple]
) -> None:
    blob: bytes | None = None
    for sort, what, *status in given_moves:
        if sort == "reserve":
            after = reserve(blob, what, given_limits)
            blob = blob if after is None else after
        elif sort == "approved":
            # An approval that is taken back gives room that was used: that alone is no law.
            blob = settle(blob, what) if of(blob, what.attempt) is None else blob
        elif sort == "release":
            blob = release(blob, what)
        elif blob is not None and (known := of(blob, what)) is not None and known.status == RESERVED:
            # As it was reserved, so it ended: an approval makes room, a failure takes none.
            blob = settle(blob, known._replace(status=status[0]))
    for limit in given_limits:
        assert overflow(entries(blob), limit) <= 0


@given(limits, st.lists(st.builds(Entry, moments, numbers, amounts, st.just(FAILED)), max_size=12), moments)
def test_what_is_left_of_a_limit_is_what_can_be_reserved(
    given_limits: list[Limit], known: list[Entry], at: int
) -> None:
    blob = None
    for entry in known:
        blob = settle(blob, entry)
    entry = Entry(at, 99, 100)
    room = all(used(entries(blob), limit, at) < limit.most for limit in given_limits)
    after = reserve(blob, entry, given_limits)
    assert (after is not None) == room
    if after is not None and of(after, 99) is not None:
        for limit in given_limits:
            counts = limit.amount_minor in (None, 100)
            assert used(entries(after), limit, at) == used(entries(blob), limit, at) + counts
            assert used(entries(after), limit, at, own=99) == used(entries(blob), limit, at)


@given(st.permutations([Entry(START + n * DAY, n, 100, FAILED if n % 3 else APPROVED) for n in range(8)]))
def test_the_order_in_which_attempts_are_settled_does_not_matter(given_entries: list[Entry]) -> None:
    blob = None
    for entry in given_entries:
        blob = settle(blob, entry)
    assert entries(blob) == tuple(sorted(given_entries))


def test_the_limit_itself_can_be_reached_and_not_passed() -> None:
    blob = None
    for number in range(3):
        blob = reserve(blob, Entry(START + number, number, 100), [MONTH])
        assert blob is not None
    assert reserve(blob, Entry(START + 9, 9, 100), [MONTH]) is None
    assert reserve(blob, Entry(START + 30 * DAY - 1, 9, 100), [MONTH]) is None
    # The first has left the window, which is open at its start.
    assert reserve(blob, Entry(START + 30 * DAY, 9, 100), [MONTH]) is not None
    assert reserve(blob, Entry(START, 9, 100), [Limit(DAY, 0)]) is None
    assert reserve(None, Entry(START, 9, 100), [Limit(DAY, 0)]) is None


def test_a_reservation_of_the_future_counts_at_once() -> None:
    blob = reserved(*[Entry(START + 20 * DAY + n, n, 100) for n in range(3)])
    assert used(entries(blob), MONTH, START) == 3
    assert reserve(blob, Entry(START, 9, 100), [MONTH]) is None
    # Three of them and this one are in no one window of seven days; it is refused all the same.
    assert reserve(blob, Entry(START, 9, 100), [Limit(7 * DAY, 3)]) is None


def test_an_attempt_is_not_counted_against_itself() -> None:
    full = reserved(*[Entry(START + n, n, 100) for n in range(3)])
    moved = reserve(full, Entry(START + DAY, 1, 200), [MONTH])
    assert moved is not None
    assert entries(moved) == (Entry(START, 0, 100), Entry(START + 2, 2, 100), Entry(START + DAY, 1, 200))


@pytest.mark.parametrize("status", [FAILED, APPROVED])
def test_what_is_settled_is_not_reserved_again(status: int) -> None:
    blob = settle(None, Entry(START, 1, 100, status))
    assert reserve(blob, Entry(START + DAY, 1, 100), [MONTH]) == blob
    assert release(blob, 1) == blob


def test_an_outcome_settles_its_reservation_and_a_later_one_revises_it() -> None:
    blob = reserved(Entry(START, 1, 100))
    failed = settle(blob, Entry(START + 5, 1, 100, FAILED))
    assert entries(failed) == (Entry(START + 5, 1, 100, FAILED),)
    approved = settle(failed, Entry(START + 5, 1, 100, APPROVED))
    assert entries(approved) == (Entry(START + 5, 1, 100, APPROVED),)
    assert used(entries(approved), MONTH, START + DAY) == 0
    # One that nobody reserved is entered.
    assert entries(settle(None, Entry(START, 7, 1, FAILED))) == (Entry(START, 7, 1, FAILED),)


def test_what_was_not_sent_is_released() -> None:
    blob = reserved(Entry(START, 1, 100), Entry(START, 2, 100))
    assert blob is not None
    assert entries(release(blob, 1)) == (Entry(START, 2, 100),)
    assert release(blob, 3) == blob
    assert release(None, 1) == pack([])
    assert entries(pack([])) == ()


def test_an_approval_resets_where_the_rule_says_so_and_never_backwards() -> None:
    known = [Entry(START + n, n, 100, FAILED) for n in range(3)]
    approval = Entry(START + 10, 8, 100, APPROVED)
    blob = pack([*known, approval])
    resets = MONTH._replace(resets=True)
    assert used(entries(blob), resets, START + 20) == 0
    assert used(entries(blob), MONTH, START + 20) == 3
    # What is dated before the approval came after three failures.
    assert used(entries(blob), resets, START + 5) == 3
    assert reserve(blob, Entry(START + 5, 9, 100), [resets]) is None
    # An attempt that is asked about again does not reset itself.
    assert used(entries(blob), resets, START + 20, own=8) == 3


def test_a_limit_of_one_amount_counts_that_amount() -> None:
    blob = reserved(Entry(START, 1, 100), Entry(START, 2, 250), Entry(START, 3, 100))
    assert used(entries(blob), Limit(DAY, 9, 100), START) == 2
    assert used(entries(blob), Limit(DAY, 9, 250), START) == 1
    assert used(entries(blob), Limit(DAY, 9, 1), START) == 0
    assert reserve(blob, Entry(START, 4, 100), [Limit(DAY, 2, 100)]) is None
    assert reserve(blob, Entry(START, 4, 250), [Limit(DAY, 2, 250)]) is not None


def test_the_old_are_forgotten_and_a_reservation_a_month_ahead_forgets_no_month() -> None:
    old, later = Entry(START, 1, 100, FAILED), Entry(START + KEPT_US, 2, 100)
    assert entries(pack([old, later])) == (later,)
    assert entries(pack([old, later._replace(at=later.at - 1)])) == (old, later._replace(at=later.at - 1))
    failures = [Entry(START - 29 * DAY + n, n, 100, FAILED) for n in range(3)]
    blob = reserve(pack(failures), Entry(START + 31 * DAY, 9, 100), [Limit(30 * DAY, 9)])
    assert reserve(blob, Entry(START, 10, 100), [Limit(30 * DAY, 4)]) is None


def test_of_too_many_the_approved_are_forgotten_first() -> None:
    some = [Entry(START + n, n, 100, APPROVED if n in (5, 7) else FAILED) for n in range(MOST + 1)]
    assert [entry.attempt for entry in entries(pack(some))] == [n for n in range(MOST + 1) if n != 5]
    failed = [entry._replace(status=FAILED) for entry in some]
    assert entries(pack(failed)) == tuple(failed[1:])


@given(st.binary(max_size=120))
def test_a_ledger_that_cannot_be_read_is_empty(blob: bytes) -> None:
    found = entries(blob)
    assert found == () or len(blob) == 3 + ENTRY.size * len(found)
    whole = pack([Entry(START, 1, 100)])
    for damaged in (
        whole[:-1],
        whole + b"x",
        b"\x09" + whole[1:],
        whole[:1] + b"\xff\xff" + b"\0" * ENTRY.size * 65535,
    ):
        assert entries(damaged) == ()
    assert entries(None) == ()


def test_ids_are_exact_in_a_double_and_keys_do_not_meet() -> None:
    ids = {attempt_id(payment, attempt) for payment in ("p", "1:p", "é" * 90) for attempt in (1, 11, 1000)}
    assert len(ids) == 9
    assert all(0 <= each < 2**53 for each in ids)
    keys = [("visa", "merchant", "m", "1t"), ("visa", None, "m", "1t"), ("visa", "customer", "m1", "t")]
    assert len({key_of(*key) for key in keys}) == 3
    assert key_of("visa", None, "m", "t") == key_of("visa", "customer", "m", "t")
    assert ledger.TTL_SECONDS * SECOND == KEPT_US


def test_no_approval_resets_a_reservation_which_may_have_been_sent_after_it() -> None:
    resets = MONTH._replace(resets=True)
    approval = Entry(START + 10, 8, 100, APPROVED)
    open_one = Entry(START, 1, 100)
    assert used([open_one, approval], resets, START + 20) == 1
    assert used([open_one._replace(status=FAILED), approval], resets, START + 20) == 0
    assert used([open_one, approval], resets, START + resets.window_us) == 0


@pytest.mark.skipif(ledger.native is None, reason="the kernels were not built: no C compiler here")
def test_the_kernel_reserves_byte_for_byte_as_the_reference_does() -> None:
    chance = random.Random(2)
    plain = 0
    for _ in range(3_000):
        start = 1_780_012_800_000_000
        known = [
            Entry(
                start + chance.randrange(100) * DAY,
                chance.randrange(40),
                chance.choice([100, 250]),
                chance.choice([1, 2, 3]),
            )
            for _ in range(chance.choice([0, 1, 3, 10, 300]))
        ]
        blob = ledger.pack(known) if known or chance.random() < 0.5 else None
        if blob is not None and chance.random() < 0.05:
            blob = chance.choice([blob[:-1], b"\x02" + blob[1:], b""])
        entry = Entry(start + chance.randrange(110) * DAY, chance.randrange(60), chance.choice([100, 250]))
        limits = [
            Limit(
                chance.choice([1, 30]) * DAY,
                chance.choice([1, 5, 15]),
                chance.choice([None, 100]),
                chance.random() < 0.5,
            )
            for _ in range(chance.randrange(3))
        ]
        expected = ledger.reserved(blob, entry, limits)
        quickly = ledger.native.reserve(blob, entry, limits)
        plain += quickly is not NotImplemented
        assert quickly is NotImplemented or quickly == expected
        assert ledger.reserve(blob, entry, limits) == expected
    assert plain > 1_000
