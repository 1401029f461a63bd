"""The manifest of a model bundle: everything the service decides with that is not code.

This module must not know how a bundle is made or loaded.
"""

from datetime import datetime
from typing import Literal

import msgspec

from contracts.base import Record
from contracts.hierarchy import Hierarchy, Level
from contracts.terms import Capability, FeeSchedule, MerchantTerms

ModelName = Literal["approval", "risk", "routing", "retry"]
FORMAT = 1


class Metric(Record, frozen=True, kw_only=True):
    """One figure with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class Evaluation(Record, frozen=True, kw_only=True):
    """How a model (or a baseline) did on the held-out rows: AUC, average precision, log loss, Brier, ECE."""

    rows: int
    positives: int
    metrics: dict[str, Metric]


class Calibration(Record, frozen=True, kw_only=True):
    """The scaling baked into the ONNX graph.

    "beta": p = sigmoid(slope * ln(raw) - slope_high * ln(1 - raw) + offset), with slopes of 0 or more, so that it never turns an
    order round; "platt" is the same with one slope, p = sigmoid(slope * logit(raw) + offset). `rows` is how many held-out
    answers it was fitted on.
    """

    method: Literal["beta", "platt", "none"]
    slope: float = 1.0
    slope_high: float = 1.0
    offset: float = 0.0
    rows: int = 0


class PolicyValue(Record, frozen=True, kw_only=True):
    """What routing by a model would have been worth on held-out first attempts: approvals per payment, judged off policy.

    Attributes
    ----------
    policy
        Which policy is judged.
    value, logged, gain
        Approval rate under the policy (self-normalised inverse propensity score), under whoever routed, and the difference,
        each with its 95 % bootstrap interval over payments.
    rows, matched
        First attempts looked at, and those that were routed as the policy would have.
    effective
        Effective sample size of the matched attempts, (sum w)^2 / sum w^2.
    clip, clipped
        No attempt weighs more than `clip`; `clipped` would have.
    conclusive
        False when the effective size is too small to conclude anything; `reading` says what may be concluded.
    """

    policy: str
    value: Metric
    logged: Metric
    gain: Metric
    rows: int
    matched: int
    effective: float
    clip: float
    clipped: int
    conclusive: bool
    reading: str


class Candidate(Record, frozen=True, kw_only=True):
    """One algorithm that was tried: its figure on the later slice, and how sure it is to be above the champion's.

    `lead` is the difference to the champion with its 95 % interval, `sure` the share of redrawn slices in which it was above
    zero; the champion has neither.
    """

    algorithm: str
    figure: Metric
    lead: Metric | None = None
    sure: float | None = None


class Selection(Record, frozen=True, kw_only=True):
    """Why a model is the algorithm it is: champion and challengers, judged on a later slice of the training window.

    Attributes
    ----------
    reading
        What was chosen and why, in one sentence.
    measure
        What was compared, higher is better.
    learnt, learnt_until
        Rows that the candidates learnt from, and the moment before which those lie.
    judged, positives, judged_from
        Rows they were compared on, how many of them are positive, and from when on those lie.
    candidates
        The champion first; empty when there was not enough to compare on.
    """

    reading: str
    measure: str
    learnt: int = 0
    judged: int = 0
    positives: int = 0
    learnt_until: datetime | None = None
    judged_from: datetime | None = None
    candidates: tuple[Candidate, ...] = ()


class Attribution(Record, frozen=True, kw_only=True):
    """What the second output of a graph of trees says: how far each group of features moved the answer.

    Attributes
    ----------
    groups
        Names of its columns, groups of the feature catalog.
    base
        What all moves begin with, the answer to nobody in particular; base and moves add up to the answer before it is
        calibrated.
    unit
        Of moves, base and that answer.
    """

    groups: tuple[str, ...]
    base: float
    unit: Literal["probability", "log_odds"]


class ModelEntry(Record, frozen=True, kw_only=True):
    """One of the four models; untrained it has no file, `prior` answers and `untrained_because` says why.

    `attribution` says what moved an answer, for a model that can tell. `effects` are added to the log-odds of
    what the graph answers: how far processors are from it, by groups of payments (`features.effects`). The evaluation is
    that of both together.
    """

    algorithm: str
    inputs: tuple[str, ...]
    prior: float
    file: str | None = None
    sha256: str | None = None
    golden_rows: tuple[tuple[float, ...], ...] = ()
    golden_expected: tuple[float, ...] = ()
    calibration: Calibration | None = None
    evaluation: Evaluation | None = None
    baselines: dict[str, Evaluation] = msgspec.field(default_factory=dict)
    policy_value: PolicyValue | None = None
    selection: Selection | None = None
    untrained_because: str | None = None
    attribution: Attribution | None = None
    effects: tuple[Level, ...] = ()


class DataWindow(Record, frozen=True, kw_only=True):
    """The history a bundle learnt from."""

    first: datetime
    last: datetime
    attempts: int
    payments: int
    train_until: datetime
    test_from: datetime
    sources: tuple[str, ...] = ()


class Encoding(Record, frozen=True, kw_only=True):
    """A category's number: its smoothed rate in the training window; `default` for a category never seen."""

    default: float
    values: dict[str, float]


class RetryParameters(Record, frozen=True, kw_only=True):
    """The grid over which a retry is weighed, and what it must be worth."""

    waits_seconds: tuple[int, ...]
    minimum_probability: float
    minimum_value_minor: float
    horizon_seconds: int


class PolicyParameters(Record, frozen=True, kw_only=True):
    """Everything the policy decides with that a shop may want otherwise.

    Attributes
    ----------
    exploration, exploration_floor
        The most that all but the best candidate share, and the least propensity of a near equal.
    probe_share
        Share of payments that try a processor which was down.
    challenge_abandonment, challenge_fraud_stopped
        Share of honest payers who do not come back from a challenge, and of fraud that does not pass it.
    challenge_gain
        What a challenge that nobody demands must promise at least, as a share of the margin.
    excess_attempt_minor
        What a network charges for an attempt beyond its limit.
    quota_value_minor
        What one attempt of a network's reattempt quota is worth when it is nearly used up.
    """

    version: str
    margin_share: float
    chargeback_fee_minor: int
    tier_medium: float
    tier_high: float
    challenge_from: float
    review_from: float
    decline_from: float
    minimum_approval: float
    exploration: float
    low_value_minor: dict[str, int]
    retry: RetryParameters
    exploration_floor: float = 0.002
    probe_share: float = 0.04
    challenge_abandonment: float = 0.07
    challenge_fraud_stopped: float = 0.8
    challenge_gain: float = 0.03
    excess_attempt_minor: int = 50
    quota_value_minor: float = 0.0


class Manifest(Record, frozen=True, kw_only=True):
    """``manifest.json`` of a bundle."""

    format: int
    version: str
    created_at: datetime
    feature_fingerprint: str
    features: tuple[str, ...]
    encodings: dict[str, Encoding]
    models: dict[str, ModelEntry]
    processors: dict[str, FeeSchedule]
    priors: dict[str, dict[str, float]]
    policy: PolicyParameters
    data: DataWindow
    notes: tuple[str, ...] = ()
    capabilities: dict[str, Capability] = msgspec.field(default_factory=dict)
    merchants: dict[str, MerchantTerms] = msgspec.field(default_factory=dict)
    hierarchy: Hierarchy | None = None
