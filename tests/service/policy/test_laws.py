import subprocess
import sys
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.payment import PreviousAttempt

share = st.floats(0, 1)
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
        assert answer.verdict in ("stop", "verify_first")
    assert answer.should_retry == (answer.reservation is not None)
    assert answer.should_retry == (answer.verdict in ("retry_now", "retry_later", "authenticate"))
    assert answer.rules
    assert len(answer.reasons) <= 5
    assert list(waits) == sorted(set(waits))
    if not answer.should_retry:
        return
    assert probability >= 0.05
    assert answer.wait_seconds >= permit.earliest_seconds
    assert answer.retry_at == now + timedelta(seconds=answer.wait_seconds)
    assert (answer.verdict == "retry_later") == (answer.wait_seconds > 0)
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
    assert read.decline_class in ("later", "technical", "authenticate")
    assert ago + answer.wait_seconds >= read.wait_seconds


def test_the_policy_loads_no_framework_and_no_numbers_library():
    code = (
        "import sys, service.policy.policy; "
        "print(sorted({'numpy','litestar','redis','onnxruntime','polars'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
