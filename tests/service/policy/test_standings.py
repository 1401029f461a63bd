"""From packed standings to what the policy takes into account, against the same concluded the long way round."""

import random
from collections.abc import Callable
from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.inputs import Standing
from features.clock import HOUR, MINUTE, SECOND
from service.policy import native, standings
from service.policy.adaptation import PRIOR, PRIOR_FAST, RESTLESS, RESTLESS_FROM, bounded, step
from service.policy.health import USUAL, Level, Trouble, narrowed, slowdown, trouble, usual_of
from service.standing import FORM, LEVELS, MEASURES, SCALES, Note, Sums, add, month_of, read, view

START = 1_780_000_000 * SECOND
WIDTH = len(MEASURES)
Concluded = Callable[..., tuple[Standing, ...]]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(False, id="pure"),
        pytest.param(True, id="native", marks=pytest.mark.skipif(not native.THERE, reason="the kernels are not built")),
    ],
)
def standings_of(request: pytest.FixtureRequest) -> Concluded:
    """Conclude standings by the pure module, then by the kernel: what holds of one holds of the other."""
    return native.standings_of if request.param else standings.standings_of


def measured(sums: Sums, name: str) -> list[float]:
    """One measure on every scale."""
    return list(sums.values[MEASURES.index(name) :: WIDTH])


def as_of_last(blob: bytes) -> Sums:
    found = read(blob, FORM.unpack(blob)[3])
    assert found is not None
    return found


def long_way(blobs: list[bytes | None], at: int, kappa: float) -> Standing:
    """The same with every sum decayed by `service.standing.read`, no screen, and a function for each step."""
    usual, slower, minor = USUAL, 1.0, 0.0
    wrong: Trouble | None = None
    slow = total = variance = 0.0
    for depth, blob in enumerate(blobs):
        prior = kappa if depth == 0 else PRIOR[depth]
        now = read(blob, at)
        if blob is None or now is None:
            variance += 1.0 / prior
            continue
        last = as_of_last(blob)
        silence = max(at - FORM.unpack(blob)[3], 0) / SECOND
        n, f = measured(last, "results"), measured(last, "faults")
        usual = usual_of(n[2], f[2], n[3], f[3], usual)
        level = Level(*[part for pair in zip(n, f, strict=True) for part in pair], silence)
        wrong = narrowed(wrong, trouble(level, usual), level, usual)
        if depth == 0:
            t, lt = measured(last, "timed"), measured(last, "log_latency")
            slower = slowdown(*[part for pair in zip(t, lt, strict=True) for part in pair], silence)
        if depth == 2:
            minor = now.month_minor
        approved, expected, spread = (measured(now, name) for name in ("approved", "expected", "spread"))
        left = [(1.0 - usual) * one - other for one, other in zip(approved, expected, strict=True)]
        fast = RESTLESS if slower > RESTLESS_FROM or wrong is not None else PRIOR_FAST[depth]
        slow, total = step(slow, total, left[3], spread[3], left[2], spread[2], prior, fast)
        variance += 1.0 / (spread[3] + prior)
    state, excess = ("up", 0.0) if wrong is None else (wrong.state, wrong.excess)
    return Standing(state, excess, slower, bounded(total), sqrt(variance), minor)


def history(draw: random.Random) -> bytes | None:
    """A standing after some phases of any pace, share of faults and latency."""
    blob: bytes | None = None
    now = START
    for _ in range(draw.randint(0, 4)):
        gap, faults = draw.choice((0.05, 1.0, 20.0, 600.0)), draw.choice((0.0, 0.02, 0.3, 1.0))
        latency, approval = draw.choice((None, 200, 2000)), draw.choice((0.3, 0.9))
        for _ in range(draw.randint(1, 40)):
            now += int(draw.expovariate(1.0 / gap) * SECOND)
            note = Note(
                now, draw.random() < faults, draw.random() < approval, draw.choice((None, 0.6, 0.9)), latency, 500
            )
            blob = add(blob, note)
    return blob


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), since=st.sampled_from([-5 * SECOND, 0, 40 * SECOND, MINUTE, 12 * HOUR]))
def test_it_is_what_the_long_way_says(standings_of: Concluded, seed: int, since: int) -> None:
    draw = random.Random(seed)
    blobs = [history(draw) for _ in range(6)]
    at = max([START, *[FORM.unpack(blob)[3] for blob in blobs if blob is not None]]) + since
    found = standings_of(("a", "b"), blobs, at, known={"a"}, spread=0.4)
    expected = (long_way(blobs[:3], at, PRIOR[0]), long_way(blobs[3:], at, 1.0 / 0.16))
    for one, other in zip(found, expected, strict=True):
        assert one.health == other.health
        for name in ("excess", "slowdown", "doubt", "month_minor"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-3, abs=1e-9), name
        # In the first second sums count as of their last result.
        assert one.shift == pytest.approx(other.shift, rel=5e-3, abs=5e-4)


def test_nothing_known_says_nothing_but_doubt(standings_of: Concluded) -> None:
    known, new = standings_of(("a", "new"), [None] * 6, START, known={"a"}, spread=0.5)
    assert (known.health, known.excess, known.slowdown, known.shift, known.month_minor) == ("up", 0.0, 1.0, 0.0, 0.0)
    assert 0.1 < known.doubt < 0.3
    assert new.doubt > 0.5
    assert new.shift == 0.0


@pytest.mark.parametrize("blobs", [(), [None], (b"",) * 6, [b"\x01" + bytes(40)] * 6, [bytes(FORM.size)] * 6])
def test_what_cannot_be_read_is_not_known(standings_of: Concluded, blobs: list[bytes | None]) -> None:
    nothing = standings_of(("a", "b"), [None] * 6, START)
    assert standings_of(("a", "b"), blobs, START) == nothing


@settings(max_examples=300, deadline=None)
@given(sums=st.lists(st.floats(-50.0, 1e6), min_size=28, max_size=28), since=st.integers(-SECOND, HOUR))
def test_sums_that_cannot_be_harm_nobody(standings_of: Concluded, sums: list[float], since: int) -> None:
    blob = FORM.pack(1, month_of(START), 0.0, START, *sums)
    (found,) = standings_of(("a",), (blob, blob, blob), START + since)
    assert 0.0 <= found.excess <= 1.0
    assert 1.0 <= found.slowdown < 1e5
    assert -1.5 <= found.shift <= 1.5
    assert 0.0 < found.doubt < 1.0


def test_what_is_taken_back_leaves_nothing(standings_of: Concluded) -> None:
    blob: bytes | None = None
    notes = [Note(START + number * SECOND, fault=True, expected=0.8) for number in range(30)]
    for note in notes:
        blob = add(blob, note)
    assert standings_of(("a",), (blob, None, None), START + 30 * SECOND)[0].health == "down"
    for note in reversed(notes):
        blob = add(blob, note._replace(sign=-1))
    (found,) = standings_of(("a",), (blob, None, None), START + 30 * SECOND)
    assert (found.health, found.excess) == ("up", 0.0)


def test_no_candidates(standings_of: Concluded) -> None:
    assert standings_of((), (), START) == ()


def test_approved_amounts_are_the_merchants_and_of_this_month(standings_of: Concluded) -> None:
    blob = add(None, Note(START, approved=True, amount_minor=700, expected=0.9))
    blobs = [add(None, Note(START, approved=True, amount_minor=90_000, expected=0.9)), None, blob]
    assert standings_of(("a",), blobs, START)[0].month_minor == 700.0
    later = START + 40 * 24 * HOUR
    assert month_of(later) > month_of(START)
    assert standings_of(("a",), blobs, later)[0].month_minor == 0.0


def test_a_processor_that_is_not_known_is_believed_by_its_outcomes(standings_of: Concluded) -> None:
    blob: bytes | None = None
    for number in range(80):
        blob = add(blob, Note(START + number * SECOND, approved=number % 2 == 0, expected=0.8))
    at = START + 80 * SECOND
    (known,) = standings_of(("a",), [blob, None, None], at)
    (new,) = standings_of(("a",), [blob, None, None], at, known=(), spread=0.5)
    assert new.shift < known.shift < 0.0
    (before,) = standings_of(("a",), [None] * 3, at, known=(), spread=0.5)
    assert new.doubt < 0.7 * before.doubt


@pytest.mark.parametrize("spread", [0.0, 0.01])
def test_a_stranger_is_never_surer_than_a_processor_that_is_known(standings_of: Concluded, spread: float) -> None:
    found = standings_of(("new", "a"), [None] * 6, START, known={"a"}, spread=spread)
    assert found[0].doubt == found[1].doubt


def test_a_view_takes_what_is_asked_for() -> None:
    blob = add(
        add(None, Note(START, fault=True)), Note(START + 10 * SECOND, approved=True, expected=0.7, amount_minor=5)
    )
    whole = FORM.unpack(blob)
    picked = view(("faults",), (), ("results", "expected"), ("log_latency",)).unpack(blob)
    sums = whole[4:]
    assert picked == (*whole[:4], sums[1], sums[2 * WIDTH], sums[2 * WIDTH + 3], sums[3 * WIDTH + 6])
    assert len(LEVELS) * len(SCALES) == 12
