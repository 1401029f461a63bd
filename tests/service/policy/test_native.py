"""The compiled kernels against the pure modules: the same answer to the last bit, and none left to the pure ones without need."""

import random
from hashlib import blake2b
from importlib import import_module
from itertools import product

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.inputs import PolicyInputs, Standing, Variant
from contracts.terms import Capability, FeeLine, FeeSchedule, MerchantTerms, Outage, Volume
from features.clock import DAY, HOUR, MINUTE, SECOND, micros, moment
from service.ledger import APPROVED, FAILED, RESERVED, Entry, attempt_id, pack
from service.policy import native, standings, words
from service.standing import FORM, month_of
from tests.service.policy.conftest import NATIVE, NOW
from tests.service.policy.test_standings import history

needs_kernels = pytest.mark.skipif(not native.THERE, reason="the kernels are not built")

NAMES = ("a", "b", "c", "d", "e", "zahlung_ä")
COUNTRIES = ("US", "DE", "FR", "GB", "BR")
AT = micros(NOW)
share = st.floats(0, 1)
maybe = st.one_of(st.none(), share)
# Where two candidates are equal order hangs on more than values.
probability = st.one_of(share, st.sampled_from([0.0, 0.5, 0.9, 1.0, float("nan"), -0.1, 1.5]))
lines = st.builds(
    FeeLine,
    network=st.sampled_from([None, "visa", "mastercard"]),
    region=st.sampled_from([None, "domestic", "intra", "cross_border"]),
    approved_fixed_minor=st.integers(0, 500),
    approved_share=st.floats(0, 0.05),
    failed_fixed_minor=st.integers(0, 100),
)
schedules = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(
        FeeSchedule,
        approved_fixed_minor=st.sampled_from([0, 10, 350]),
        approved_share=st.sampled_from([0.0, 0.0135, 0.03]),
        failed_fixed_minor=st.integers(0, 20),
        three_ds_minor=st.integers(0, 30),
        lines=st.lists(lines, max_size=2).map(tuple),
    ),
)
capabilities = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(
        Capability,
        networks=st.sampled_from([None, None, ("visa", "mastercard"), ("amex",)]),
        currencies=st.sampled_from([None, None, ("EUR", "USD")]),
        merchant_countries=st.sampled_from([None, None, ("DE", "FR")]),
        issuer_countries=st.sampled_from([None, None, ("US", "DE")]),
        network_token=st.booleans(),
        three_ds=st.booleans(),
        outages=st.sampled_from(
            [
                (),
                (),
                (Outage(begins=NOW, ends=moment(AT + HOUR)),),
                (Outage(begins=moment(AT - HOUR), ends=NOW), Outage(begins=moment(AT - 1), ends=moment(AT + 1))),
            ]
        ),
    ),
)
merchants = st.builds(
    MerchantTerms,
    margin_share=st.sampled_from([None, 0.0, 0.004, 0.02, 0.3]),
    tier_medium=st.one_of(st.none(), st.floats(0, 0.7)),
    challenge_from=maybe,
    review_from=maybe,
    decline_from=maybe,
    minimum_approval=st.sampled_from([None, 0.0, 0.3, 0.9]),
    acquirer_fraud_basis_points=st.sampled_from([None, 0.5, 1.0, 5.0, 12.0]),
    volumes=st.dictionaries(
        st.sampled_from(NAMES),
        st.builds(
            Volume,
            commit_minor=st.sampled_from([0, 5_000, 10_000_000]),
            shortfall_share=st.floats(0, 0.05),
            cap_minor=st.sampled_from([None, 0, 4_000, 10_000_000]),
        ),
        max_size=2,
    ),
)
standing = st.builds(
    Standing,
    health=st.sampled_from(["up", "up", "up", "half_open", "down"]),
    excess=st.sampled_from([0.0, 0.0, 0.2, 0.99]),
    slowdown=st.sampled_from([1.0, 1.0, 5.0]),
    shift=st.one_of(st.just(0.0), st.floats(-1.5, 1.5), st.sampled_from([80.0, -80.0])),
    doubt=st.one_of(st.just(0.0), st.floats(0, 2)),
    month_minor=st.sampled_from([0.0, 4_000.0, 1e7]),
)
requests = st.fixed_dictionaries(
    {
        "payment_id": st.text(min_size=1, max_size=140).filter(lambda text: text.isprintable()),
        "attempt": st.integers(1, 1000),
        "merchant_id": st.sampled_from(["m_1", "m_2"]),
        "amount_minor": st.one_of(st.integers(0, 4_000), st.integers(0, 10**12)),
        "card_network": st.sampled_from(["visa", "MC", "Mastercard", "amex", "jcb"]),
        "initiator": st.sampled_from([None, "customer", "customer", "merchant"]),
        "issuer_country": st.sampled_from(COUNTRIES),
        "merchant_country": st.sampled_from([None, *COUNTRIES]),
        "currency": st.sampled_from(["EUR", "GBP", "USD"]),
        "uses_3ds": st.sampled_from([None, False, True]),
        "is_network_token": st.sampled_from([None, False, True]),
        "credentials": st.sampled_from([(), ("network_token", "card_number"), ("card_number",), ("network_token",)]),
    }
)
parameters = st.fixed_dictionaries(
    {
        "exploration": st.sampled_from([0.0, 0.05, 0.5, 1.0]),
        "exploration_floor": st.sampled_from([0.0, 0.002, 0.1]),
        "probe_share": st.sampled_from([0.0, 0.04, 0.4]),
        "margin_share": st.sampled_from([0.0, 0.02, 0.3]),
        "challenge_gain": st.sampled_from([0.0, 0.03]),
        "low_value_minor": st.sampled_from([{}, {"EUR": 2_000, "USD": 500}, {"EUR": 0}]),
    }
)
# Late, early and on the edges of windows; of the payment itself too.
entries = st.lists(
    st.builds(
        Entry,
        at=st.one_of(st.integers(AT - 40 * DAY, AT + DAY), st.sampled_from([AT, AT - DAY, AT - DAY - 10 * MINUTE])),
        attempt=st.sampled_from([attempt_id("pay", 1), *range(2, 60)]),
        amount_minor=st.sampled_from([100, 2_000, 10_000]),
        status=st.sampled_from([RESERVED, FAILED, FAILED, FAILED, APPROVED, APPROVED]),
    ),
    max_size=60,
    unique_by=lambda entry: entry.attempt,
)


class Case(msgspec.Struct):
    """One question to a policy, and what it is compiled of."""

    settings: dict
    request: dict
    kind: str
    processors: tuple[str, ...]
    rows: list[list[float]]
    standings: tuple[Standing, ...]
    risk: float
    ledger: bytes | None
    degraded: tuple[str, ...]

    def asked(self, payment):
        return payment(**self.request)

    def inputs(self, variants, rows=None):
        return PolicyInputs(
            moment_us=AT,
            processors=self.processors,
            variants=variants,
            approval=tuple(map(tuple, self.rows[: len(variants)] if rows is None else rows)),
            risk=self.risk,
            standings=self.standings,
            ledger=self.ledger,
        )

    def decided(self, policy, request, inputs):
        return policy.decide(request, inputs, kind=self.kind, degraded=self.degraded)


@st.composite
def cases(draw):
    names = draw(st.one_of(st.permutations(NAMES), st.just(("a", "b", "a", "c", "c", "d"))))
    count = draw(st.integers(1, 6))
    request = draw(requests)
    if draw(st.booleans()):
        request |= {"payment_id": "pay", "attempt": 1}
    return Case(
        settings={
            **draw(parameters),
            "fees": draw(schedules),
            "capabilities": draw(capabilities),
            "merchants": {"m_1": draw(merchants)},
        },
        request=request,
        kind=draw(st.sampled_from(["auth", "auth", "routing"])),
        processors=tuple(names[:count]),
        rows=draw(st.lists(st.lists(probability, min_size=count, max_size=count), min_size=4, max_size=4)),
        standings=draw(st.one_of(st.just(()), st.tuples(*[standing] * count))),
        risk=draw(st.one_of(share, st.floats(0, 0.05), st.sampled_from([0.0, 0.3, 0.5, 0.7, 0.8, 0.95, 1.0]))),
        ledger=draw(st.one_of(st.none(), st.just(b"\x01\x00"), entries.map(pack))),
        degraded=draw(st.sampled_from([(), (), ("features:store_timeout",)])),
    )


@pytest.fixture(scope="module")
def pair(compiled_as):
    """Compile the same policy twice: of the pure modules, and with the kernels."""
    if not native.THERE:
        pytest.skip("the kernels are not built")
    return lambda **settings: (compiled_as(False, **settings), compiled_as(True, **settings))


def bits(value):
    """Everything an answer says, with no two floats that differ taken for the same, and no int for a float."""
    return repr(value)


@settings(max_examples=300, deadline=None)
@given(case=cases())
def test_a_choice_is_the_same_to_the_last_bit(pair, payment, case):
    pure, compiled = pair(**case.settings)
    request = case.asked(payment)
    variants = pure.variants(request, case.kind)
    inputs = case.inputs(variants)
    expected = case.decided(pure, request, inputs)
    known = case.decided(compiled, request, inputs)
    assert bits(known) == bits(expected)
    assert known == expected
    assert msgspec.json.encode(known) == msgspec.json.encode(expected)
    # It was the kernel that answered, and would once more.
    again = compiled._kernel.choose(
        request,
        case.processors,
        inputs.approval,
        case.risk,
        case.kind,
        AT,
        case.degraded,
        variants,
        case.standings,
        case.ledger,
    )
    assert bits(again) == bits(expected)


@settings(max_examples=300, deadline=None)
@given(case=cases(), attempts=entries)
def test_a_ledger_that_is_read_already_is_the_same_as_a_packed_one(pair, payment, case, attempts):
    pure, compiled = pair(**case.settings)
    request = case.asked(payment)
    variants = pure.variants(request, case.kind)
    told = {
        "kind": case.kind,
        "now": NOW,
        "degraded": case.degraded,
        "variants": variants,
        "standings": list(case.standings),
        "ledger": tuple(sorted(attempts)),
    }
    rows = case.rows[: len(variants)]
    expected = pure.choose(request, case.processors, rows, case.risk, **told)
    assert bits(compiled.choose(request, case.processors, rows, case.risk, **told)) == bits(expected)


@pytest.mark.parametrize("kernels", [pytest.param(False, id="pure"), NATIVE])
@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_what_is_needed_is_enough_for_the_same_choice(compiled_as, payment, kernels, case):
    policy = compiled_as(kernels, **case.settings)
    request = case.asked(payment)
    variants = policy.variants(request, case.kind)
    needed = policy.needed(request, case.processors, variants, case.risk, kind=case.kind, at=AT, ledger=case.ledger)
    assert [variant for variant in variants if variant in needed] == list(needed)
    fewer = case.inputs(needed, [case.rows[variants.index(variant)] for variant in needed])
    assert bits(case.decided(policy, request, fewer)) == bits(case.decided(policy, request, case.inputs(variants)))


@settings(max_examples=150, deadline=None)
@given(case=cases(), variants=st.lists(st.builds(Variant, st.sampled_from(["none", "three_ds"])), max_size=3))
def test_the_kernel_needs_what_the_pure_one_needs(pair, payment, case, variants):
    pure, compiled = pair(**case.settings)
    request = case.asked(payment)
    for asked in (pure.variants(request, case.kind), tuple(variants)):
        told = (request, case.processors, asked, case.risk)
        expected = pure.needed(*told, kind=case.kind, at=AT, ledger=case.ledger)
        assert compiled.needed(*told, kind=case.kind, at=AT, ledger=case.ledger) == expected
        assert compiled._kernel.needed(*told, case.kind, AT, case.ledger) == expected


def test_only_what_is_weighed_is_needed(compiled, payment):
    policy = compiled()
    plain, challenged = Variant("none"), Variant("three_ds")

    def needed(risk, capabilities=None, **changes):
        asked = compiled(capabilities=capabilities or {}) if capabilities else policy
        request = payment(**changes)
        return asked.needed(request, ("a", "b"), asked.variants(request, "auth"), risk, kind="auth", at=AT)

    assert needed(0.001) == (plain,)
    assert needed(0.3) == (plain, challenged)
    assert needed(0.6) == (challenged,)
    assert needed(0.6, {"b": Capability(three_ds=False)}) == (plain, challenged)
    at_home = {"issuer_country": "DE", "merchant_country": "FR", "currency": "EUR"}
    assert needed(0.001, **at_home) == (challenged,)
    assert needed(0.001, amount_minor=1_000, **at_home) == (plain,)
    with pytest.raises(ValueError, match="risk"):
        needed(1.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"approval": ((0.5,), (0.5,))}, "row of approval"),
        ({"approval": ((0.5, 0.5),)}, "each of 1 processors"),
        ({"standings": (Standing(),) * 2}, "standing for each"),
        ({"risk": 1.5}, "risk of 0 to 1"),
        ({"risk": None}, "got none"),
    ],
)
def test_what_does_not_fit_is_refused_alike(compiled, payment, changes, message):
    inputs = PolicyInputs(moment_us=AT, processors=("a",), variants=(Variant(),), approval=((0.5,),), risk=0.1)
    with pytest.raises(ValueError, match=message):
        compiled().decide(payment(), msgspec.structs.replace(inputs, **changes), kind="auth")


@pytest.mark.parametrize("count", [0, 17])
def test_what_is_more_or_less_than_a_kernel_holds_is_answered_by_the_pure_one(pair, payment, count):
    pure, compiled = pair()
    names = tuple(f"p{number}" for number in range(count))
    inputs = PolicyInputs(moment_us=AT, processors=names, variants=(Variant(),), approval=((0.5,) * count,), risk=0.1)
    request = payment()
    assert (
        compiled._kernel.choose(request, names, inputs.approval, 0.1, "auth", AT, (), inputs.variants, (), None) is None
    )
    assert bits(compiled.decide(request, inputs, kind="auth")) == bits(pure.decide(request, inputs, kind="auth"))


def test_rules_of_another_day_are_those_of_that_day(pair, payment, override):
    """The kernel keeps what it looked up by day: a question of the past and one of today may come in turn."""
    rules = override(
        '[[limit]]\nid = "own.limit"\nnetwork = "visa"\nlimit = 1\nwindow_seconds = 86400\n'
        'effective_from = 2026-03-02\nsource = "s"\nconfidence = "P"\n'
    )
    pure, compiled = pair(with_rules=rules)
    ledger = pack([Entry(AT - HOUR, 5, 100, FAILED)])
    actions = []
    for at in (AT, AT + DAY - 2 * HOUR, AT, AT + 12 * HOUR):
        inputs = PolicyInputs(
            moment_us=at, processors=("a",), variants=(Variant(),), approval=((0.9,),), risk=0.01, ledger=ledger
        )
        expected = pure.decide(payment(), inputs, kind="auth")
        assert bits(compiled.decide(payment(), inputs, kind="auth")) == bits(expected)
        actions.append(expected.action)
    assert actions == ["approve", "decline", "approve", "decline"]


def test_a_flood_of_names_is_answered_and_not_kept(pair, payment):
    pure, compiled = pair()
    names = [f"n{number}" for number in range(5_000)]
    for name in names:
        inputs = PolicyInputs(
            moment_us=AT, processors=(name, "b"), variants=(Variant(),), approval=((0.9, 0.8),), risk=0.01
        )
        made = compiled.decide(payment(card_network=name, merchant_id=name), inputs, kind="auth")
        if name in ("n0", "n4097", "n4999"):
            assert bits(made) == bits(pure.decide(payment(card_network=name, merchant_id=name), inputs, kind="auth"))


@needs_kernels
@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    since=st.sampled_from([-5 * SECOND, 0, SECOND, SECOND + 1, 40 * SECOND, 12 * HOUR, 400 * DAY]),
    known=st.sampled_from([None, frozenset({"a"}), ("b",)]),
    spread=st.floats(0, 3),
)
def test_standings_are_the_same_to_the_last_bit(seed, since, known, spread):
    draw = random.Random(seed)
    blobs = [history(draw) for _ in range(draw.choice((6, 6, 6, 5, 0)))]
    at = max([AT, *[FORM.unpack(blob)[3] for blob in blobs if blob is not None]]) + since
    told = {"known": known, "spread": spread}
    expected = standings.standings_of(("a", "b"), blobs, at, **told)
    assert bits(native.standings_of(("a", "b"), blobs, at, **told)) == bits(expected)
    assert bits(native.standings_of(("a", "b"), tuple(blobs), at, **told)) == bits(expected)


@needs_kernels
@settings(max_examples=300, deadline=None)
@given(
    sums=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=28, max_size=28),
    then=st.one_of(st.integers(AT - DAY, AT + DAY), st.sampled_from([-(2**63), 2**63 - 1])),
    version=st.sampled_from([1, 1, 2]),
)
def test_sums_that_cannot_be_do_the_same_harm(sums, then, version):
    blob = FORM.pack(version, month_of(AT), 5.0, then, *sums)

    def concluded(standings_of):
        try:
            return bits(standings_of(("a",), (blob, None, blob), AT))
        except (ArithmeticError, ValueError) as error:
            return bits(error)

    assert concluded(native.standings_of) == concluded(standings.standings_of)


# Ties, near ties, what rounds up to the next power of ten, and edges of the notation with an exponent.
numbers = st.one_of(
    st.floats(),
    st.floats(-1.1e6, 1.1e6),
    st.floats(0, 1.1e-3),
    share,
    st.integers(-(10**9), 10**9).map(lambda whole: whole / 1000),
    st.integers(-(10**9), 10**9).map(lambda whole: whole / 128),
    st.builds(lambda ten, part: 10.0**ten * (1.0 - part), st.integers(-6, 7), st.floats(-1e-4, 1e-4)),
)


@needs_kernels
@settings(max_examples=200, deadline=None)
@given(
    phrase=st.sampled_from(sorted(each for each in vars(words).values() if isinstance(each, tuple))),
    texts=st.lists(st.text(max_size=400), min_size=8, max_size=8),
    whole=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=8, max_size=8),
    floats=st.lists(numbers, min_size=8, max_size=8),
)
def test_a_phrase_says_what_the_format_says(phrase, texts, whole, floats):
    said = import_module("service.policy.choice_native").said
    kinds = [part[0] for part in phrase[1].replace(".4", "").replace(".1", "").split("%")[1:]]
    values = tuple({"s": texts, "d": whole, "g": floats, "f": floats}[kind][place] for place, kind in enumerate(kinds))
    try:
        expected = phrase[1] % values
        expected.encode()
    except UnicodeEncodeError:
        return
    reason = said(phrase, *values)
    assert (reason.code, reason.detail) == (phrase[0], expected)


def test_a_draw_is_the_digest_that_hashlib_makes(pair, payment):
    """Over lengths around a block of 128 bytes: seen in which candidate is drawn, at odds of one half."""
    pure, compiled = pair(exploration=0.5, exploration_floor=0.5)
    drawn = set()
    for length, attempt in product((1, 60, 124, 125, 126, 127, 128), (1, 22, 333, 1000)):
        request = payment(payment_id="ä" * (length // 2) + "x" * (length % 2), attempt=attempt)
        inputs = PolicyInputs(
            moment_us=AT,
            processors=("a", "b"),
            variants=(Variant(),),
            approval=((0.9, 0.9),),
            risk=0.01,
        )
        made = compiled.decide(request, inputs, kind="routing")
        assert bits(made) == bits(pure.decide(request, inputs, kind="routing"))
        text = f"{request.payment_id}:{attempt}".encode()
        draw = int.from_bytes(blake2b(text, digest_size=8).digest(), "big") / 2**64
        assert made.index == int(draw < made.ranking[1].propensity)
        drawn.add(made.index)
    assert drawn == {0, 1}
