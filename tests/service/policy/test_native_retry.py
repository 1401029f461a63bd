"""The compiled kernels of a retry against the pure modules: the same plan to the last bit."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.inputs import Standing, Variant
from contracts.payment import PreviousAttempt
from features.clock import DAY, HOUR, micros
from service.ledger import APPROVED, FAILED, RESERVED, Entry, attempt_id
from service.policy import grid, native
from service.policy.grid import Block, Column
from tests.service.policy.conftest import NOW
from tests.service.policy.test_native import bits, capabilities, merchants, schedules

pytestmark = pytest.mark.skipif(not native.THERE, reason="the kernels are not built")
AT = micros(NOW)
NAMES = ("a", "b", "c", "d", "e")
share = st.floats(0, 1)
probability = st.one_of(share, st.sampled_from([0.0, 0.04, 0.05, 0.5, 1.0, float("nan"), -0.5, 2.0]))
standing = st.builds(
    Standing,
    health=st.sampled_from(["up", "up", "up", "up", "up", "up", "half_open", "down"]),
    excess=st.sampled_from([0.0, 0.0, 0.2, 0.99]),
    shift=st.one_of(st.just(0.0), st.floats(-1.5, 1.5), st.sampled_from([80.0, -80.0])),
    month_minor=st.sampled_from([0.0, 1e7]),
)
requests = st.fixed_dictionaries(
    {
        "code": st.sampled_from([None, "05", "51", "1A", "N7", "91", "43", "54", "63", "ZZ"]),
        "advice": st.sampled_from([None, None, "01", "02", "24", "03", "99"]),
        "reason": st.sampled_from([None, None, "insufficient_funds", "Do_Not_Honor", "timeout"]),
        "at": st.sampled_from(
            [None, NOW, NOW - timedelta(seconds=90), NOW - timedelta(days=20), NOW + timedelta(seconds=9)]
        ),
        "processor": st.sampled_from(NAMES),
        "attempt": st.integers(1, 4),
        "amount_minor": st.integers(0, 10**6),
        "card_network": st.sampled_from(["visa", "MC", "mastercard", "amex", "elo", "jcb"]),
        "initiator": st.sampled_from([None, "customer", "merchant"]),
        "issuer_country": st.sampled_from(["US", "DE", "BR"]),
        "merchant_country": st.sampled_from([None, "US", "FR"]),
        "uses_3ds": st.sampled_from([None, False, True]),
        "is_network_token": st.sampled_from([None, False, True]),
        "credentials": st.sampled_from([(), ("network_token", "card_number")]),
        "previous_attempts": st.lists(
            st.builds(
                PreviousAttempt,
                processor=st.sampled_from(NAMES),
                status=st.sampled_from(["approved", "declined", "timeout"]),
                occurred_at=st.integers(1, 40 * 24).map(lambda hours: NOW - timedelta(hours=hours)),
            ),
            max_size=3,
        ).map(tuple),
    }
)
ledgers = st.lists(
    st.builds(
        Entry,
        at=st.integers(AT - 40 * DAY, AT + DAY),
        attempt=st.sampled_from([attempt_id("pay_1", 1), attempt_id("pay_1", 2), *range(2, 40)]),
        amount_minor=st.sampled_from([100, 10_000]),
        status=st.sampled_from([RESERVED, FAILED, FAILED, APPROVED]),
    ),
    max_size=20,
    unique_by=lambda entry: entry.attempt,
).map(lambda entries: tuple(sorted(entries)))


@st.composite
def compositions(draw):
    """What a policy is compiled of: on most days nothing is known against a candidate."""
    ordinary = draw(st.sampled_from([True, True, False]))
    return {
        "fees": draw(schedules),
        "capabilities": {} if ordinary else draw(capabilities),
        "merchants": {} if ordinary else {"m_1": draw(merchants)},
        "margin_share": draw(st.sampled_from([0.0, 0.02, 0.3])),
        "quota_value_minor": draw(st.sampled_from([0.0, 0.0, 25.0])),
        "challenge_abandonment": draw(st.sampled_from([0.07, 1.0])),
        "retry": {"minimum_probability": draw(st.sampled_from([0.0, 0.05, 0.5]))},
    }


def planned(policy, request, ledger, rows, standings):
    """Permit, score and plan; what it comes to, or the error."""
    permit = policy.permit(request, NOW, ledger)
    waits, modes = policy.waits(permit), policy.modes(request, permit)
    table = [rows[place % len(rows)] for place in range(len(waits) * len(modes))]
    names = NAMES[: len(rows[0])]
    try:
        return permit, policy.plan(request, permit, names, waits, table, NOW, standings=standings, modes=modes)
    except ZeroDivisionError as error:
        return permit, str(error)


@settings(max_examples=300, deadline=None)
@given(composition=compositions(), changes=requests, ledger=ledgers, data=st.data(), count=st.integers(1, 5))
def test_a_plan_is_the_same_to_the_last_bit(compiled_as, declined, composition, changes, ledger, data, count):
    row = st.lists(probability, min_size=count, max_size=count)
    rows = data.draw(st.lists(row, min_size=1, max_size=6))
    standings = data.draw(st.one_of(st.just(()), st.tuples(*[standing] * count)))
    told = (declined(**changes), data.draw(st.sampled_from([(), ledger])), rows, standings)
    pure, compiled = (compiled_as(kernels, **composition) for kernels in (False, True))
    assert bits(planned(compiled, *told)) == bits(planned(pure, *told))


def test_on_an_ordinary_day_the_kernel_plans(compiled_as, declined):
    policy, request = compiled_as(True), declined("05")
    permit = policy.permit(request, NOW, ())
    waits, modes = policy.waits(permit), policy.modes(request, permit)
    table = [[0.5, 0.6]] * (len(waits) * len(modes))
    planner = policy._retrier._planner
    up, down = (Standing(shift=0.2, excess=0.1), Standing()), (Standing(), Standing(health="down", excess=1.0))

    def found(*told):
        return planner._ordinary(request, permit, ("a", "b"), waits, modes, table, AT, *told)

    best, second = found(up)
    assert (best.place, best.p <= 0.6, second.wait != best.wait) == (1, True, True)
    assert found(down) is None
    assert policy.plan(request, permit, ("a", "b"), waits, table, NOW, standings=up, modes=modes).processor == "b"


cells = st.builds(
    Column,
    place=st.integers(0, 4),
    soonest=st.sampled_from([0, 0, 300, 90_000]),
    gain=st.floats(-100, 1000),
    failed=st.floats(0, 50),
    excess=st.sampled_from([0.0, 0.3]),
    shift=st.sampled_from([0.0, -0.7, 1.2]),
    away=st.sampled_from([(), (), ((0, 3600),), ((0, 300), (3600, 90_000))]),
)
grids = st.lists(
    st.builds(
        Block,
        mode=st.sampled_from([Variant(), Variant("three_ds")]),
        reached=st.sampled_from([1.0, 0.93]),
        columns=st.lists(cells, max_size=5),
        rows=st.lists(
            st.tuples(
                st.sampled_from([0, 300, 3600, HOUR // 1000, 86_400, 172_800]),
                st.sampled_from([0.0, 12.5]),
                st.lists(probability, min_size=5, max_size=5).map(tuple),
            ),
            max_size=6,
        ),
    ),
    max_size=3,
)


@settings(max_examples=400, deadline=None)
@given(blocks=grids, least=st.sampled_from([0.0, 0.05, 0.5]))
def test_a_grid_is_weighed_the_same_to_the_last_bit(blocks, least):
    assert bits(native.best_of(blocks, least)) == bits(grid.best_of(blocks, least))
