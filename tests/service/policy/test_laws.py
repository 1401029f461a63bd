import subprocess
import sys
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.payment import PreviousAttempt
from contracts.terms import FeeSchedule

NAMES = ("a", "b", "c", "d", "e")
share = st.floats(0, 1)
fee = st.builds(
    FeeSchedule,
    approved_fixed_minor=st.integers(0, 500),
    approved_share=st.floats(0, 0.05),
    failed_fixed_minor=st.integers(0, 100),
)
candidates = st.integers(0, 5).flatmap(
    lambda count: st.tuples(st.just(NAMES[:count]), st.lists(share, min_size=count, max_size=count))
)
codes = st.sampled_from(
    [
        None,
        *[
            "01",
            "03",
            "04",
            "05",
            "06",
            "12",
            "14",
            "19",
            "41",
            "51",
            "54",
            "57",
            "59",
            "61",
            "63",
            "65",
            "68",
            "70",
            "75",
            "78",
            "79",
            "82",
            "83",
            "86",
            "89",
            "91",
            "93",
            "96",
            "1A",
            "N7",
            "R1",
            "ZZ",
        ],
    ]
)
advices = st.sampled_from(
    [None, *["01", "02", "03", "04", "05", "21", "22", "24", "25", "26", "27", "28", "29", "30", "40", "41", "99"]]
)
reasons = st.sampled_from([None, "timeout", "error", "insufficient_funds", "whatever"])
networks = st.sampled_from(["visa", "mastercard", "amex", "discover", "elo", "jcb"])
initiators = st.sampled_from([None, "customer", "merchant"])


@settings(max_examples=150, deadline=None)
@given(
    asked=candidates,
    risk=share,
    kind=st.sampled_from(["auth", "routing"]),
    exploration=share,
    margin=st.sampled_from([0.0, 0.02, 0.3]),
    fees=st.dictionaries(st.sampled_from(NAMES), fee),
    degraded=st.sampled_from([(), ("features:redis_timeout",)]),
    payment_id=st.text("abc123", min_size=1, max_size=8),
    amount=st.integers(0, 100_000),
    initiator=initiators,
)
def test_a_choice_is_one_of_the_candidates_and_its_odds_are_right(
    compiled, payment, now, asked, risk, kind, exploration, margin, fees, degraded, payment_id, amount, initiator
):
    processors, approval = asked
    policy = compiled(exploration=exploration, margin_share=margin, fees=fees)
    request = payment(payment_id=payment_id, amount_minor=amount, initiator=initiator)
    choice = policy.choose(request, processors, [approval], risk, kind=kind, now=now, degraded=degraded)

    assert choice == policy.choose(request, processors, [approval], risk, kind=kind, now=now, degraded=degraded)
    assert sorted(one.processor for one in choice.ranking) == sorted(processors)
    eligible = [one for one in choice.ranking if one.eligible]
    if eligible:
        assert sum(one.propensity for one in eligible) == pytest.approx(1.0)
        assert all(0.0 <= one.propensity <= 1.0 for one in eligible)
    if choice.index is not None:
        assert processors[choice.index] == choice.processor
        assert next(one for one in eligible if one.processor == choice.processor).propensity > 0.0
    else:
        assert choice.action == "decline" or not eligible
    values = [one.expected_value_minor for one in eligible]
    likely = [one.approval_probability for one in eligible]
    assert values == sorted(values, reverse=True) or likely == sorted(likely, reverse=True)
    if degraded and eligible:
        assert eligible[0].propensity == 1.0
    if kind == "routing":
        assert choice.action == "approve"
    assert len(choice.reasons) <= 5


previous = st.lists(
    st.tuples(st.sampled_from(["approved", "declined", "error", "timeout"]), st.integers(1, 40 * 86_400)), max_size=40
)


@settings(max_examples=200, deadline=None)
@given(
    network=networks,
    code=codes,
    advice=advices,
    reason=reasons,
    initiator=initiators,
    ago=st.integers(0, 12 * 86_400),
    before=previous,
    probability=share,
)
def test_a_retry_respects_quota_and_waits(
    compiled, declined, rules, now, network, code, advice, reason, initiator, ago, before, probability
):
    policy = compiled()
    request = declined(
        code,
        advice,
        reason,
        at=now - timedelta(seconds=ago),
        card_network=network,
        initiator=initiator,
        previous_attempts=tuple(
            PreviousAttempt(processor="b", status=status, occurred_at=now - timedelta(seconds=seconds))
            for status, seconds in before
        ),
    )
    permit = policy.permit(request, now)
    waits = policy.waits(permit)
    answer = policy.plan(request, permit, ("a", "b"), waits, [[probability] * 2] * len(waits), now)

    if answer.quota is not None and answer.quota.used >= answer.quota.limit:
        assert answer.verdict == "stop"
    assert answer.should_retry == (answer.verdict in ("retry_now", "retry_later"))
    assert answer.rules
    assert len(answer.reasons) <= 5
    assert list(waits) == sorted(set(waits))
    if not answer.should_retry:
        return
    assert probability >= 0.05
    assert answer.wait_seconds >= permit.earliest_seconds
    assert answer.retry_at == now + timedelta(seconds=answer.wait_seconds)
    assert (answer.verdict == "retry_now") == (answer.wait_seconds == 0)
    if answer.processor == "a":
        assert permit.same_processor
        assert answer.wait_seconds >= permit.same_processor_seconds
    read = rules.at(now.date()).read(
        network,
        processor="a",
        code=code,
        advice=advice,
        reason=reason,
        country="US",
        initiator="merchant" if initiator == "merchant" else "customer",
    )
    assert read.decline_class in ("later", "technical")
    assert ago + answer.wait_seconds >= read.wait_seconds


def test_the_policy_loads_no_framework_and_no_numbers_library():
    code = (
        "import sys, service.policy.policy; "
        "print(sorted({'numpy','litestar','redis','onnxruntime','polars'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
