"""The definition of one feature, and the words it may be made of.

A spec says what a feature is; ``features.assemble`` says how one payment gets it, ``features.offline`` how a history does.

This module must not know the catalog.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from features.clock import DAY, HOUR, MINUTE
from features.increment import CODES
from features.layout import CLOCKS, DECAYED, LAYOUTS, Layout

ABSENT: Final = -1.0
"""The value of a feature whose input is not there. No feature takes it otherwise."""

Scope = Literal["payment", "candidate", "retry"]
"""Whether a feature is the same for the whole payment, differs by candidate processor, or by planned retry."""

StaticOperation = Literal[
    "number",  # the input as it is
    "flag",  # a boolean input as 1 / 0
    "present",  # 1 when the input is there, else 0
    "equals",  # 1 when the input equals a constant, 0 when it is another value
    "differs",  # 1 when two inputs differ, 0 when they are the same
    "major",  # an amount in major units of its currency
    "whole",  # 1 when an amount is a whole number of major units
    "hour",  # hour of the day in UTC with its fraction
    "weekday",  # 0 Monday to 6 Sunday, UTC
    "monthday",  # 1 to 31, UTC
    "weekend",  # 1 on Saturday and Sunday, UTC
    "night",  # 1 before 06:00 UTC
    "prior",  # the smoothed rate of a target for this category in the training window, from the bundle
]

StateOperation = Literal[
    "count",  # a measure summed over a window
    "rate",  # one measure over another, summed over a window
    "mean",  # the amount per attempt over a window, minor units
    "relative",  # this payment's amount over that mean
    "distinct",  # different values of the entity's other field among its attempts in a window, up to a capacity
    "since",  # seconds since the entity's last attempt, result or approval
    "last",  # amount of the last attempt, or 1 when the last result was of a sort, else 0
    "decayed",  # exponentially decayed sum of a measure over that of the results
    "streak",  # declines since the last approval, up to a capacity
]

Operation = StaticOperation | StateOperation
"""What a feature does with its inputs."""

STATIC_OPERATIONS: Final[tuple[str, ...]] = get_args(StaticOperation)
STATE_OPERATIONS: Final[tuple[str, ...]] = get_args(StateOperation)

Target = Literal["approval", "chargeback", "retry"]

SINCE: Final[dict[str, str]] = {"attempt": "decided_at", "result": "settled_at", "approved": "settled_at"}
"""What `since` can count from, and the clock of each."""


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """One feature.

    Attributes
    ----------
    name
        Generated from the rest; unique in the catalog.
    scope, operation
        See `Scope` and `Operation`.
    inputs
        Fields of the payment (static operations), measures (window operations) or what was last.
    entity
        Kind of entity whose state a state operation reads.
    width
        Window in microseconds; its hop is that of the ring that serves it. Operations without a window of their own
        have the longest one: what is older is not seen.
    constant
        What `equals` compares with.
    target
        What a `prior` is the rate of.
    default
        The value when an input is absent, or when the entity was not seen in its longest window. An entity that was
        seen, but not in the window, counts 0: the two differ.
    """

    name: str
    scope: Scope
    operation: Operation
    inputs: tuple[str, ...]
    entity: str | None = None
    width: int = 0
    constant: str = ""
    target: Target | None = None
    default: float = ABSENT

    @property
    def layout(self) -> Layout:
        """Layout of the entity's state."""
        assert self.entity is not None
        return LAYOUTS[self.entity]

    @property
    def hop(self) -> int:
        """Hop of the window in microseconds: that of the finest ring that reaches far enough."""
        return next(ring.hop for ring in self.layout.rings if ring.reach >= self.width)

    @property
    def clock(self) -> str:
        """When what is counted becomes known: decided_at, settled_at, chargeback_at, or several of them."""
        if self.entity is None:
            return ""
        match self.operation:
            case "distinct":
                names = ["decided_at"]
            case "since":
                names = [SINCE[self.inputs[0]]]
            case "last":
                names = ["decided_at" if self.inputs[0] == "amount_minor" else "settled_at"]
            case "streak":
                names = ["settled_at"]
            case _:
                names = [CLOCKS[name] for name in self.inputs]
        return ", ".join(dict.fromkeys(names))

    def words(self) -> str:
        """Return the definition as one line: what the fingerprint is made of."""
        hop = self.hop if self.width else 0
        parts = (self.name, self.scope, self.operation, "+".join(self.inputs), self.entity or "", self.width, hop)
        return "|".join(map(str, (*parts, self.constant, self.target or "", self.default)))


def span(us: int) -> str:
    """Return the name of a window.

    >>> span(15 * MINUTE), span(DAY), span(30 * DAY)
    ('15m', '24h', '30d')
    """
    for unit, letter in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if us % unit == 0 and (us > DAY or unit != DAY):
            return f"{us // unit}{letter}"
    msg = f"expected a window of whole minutes, got {us} us"
    raise ValueError(msg)


def static(operation: StaticOperation, *inputs: str, constant: str = "", scope: Scope = "payment") -> FeatureSpec:
    """Return a feature of the payment's own fields.

    >>> static("differs", "issuer_country", "merchant_country").name
    'issuer_country_differs_merchant_country'
    """
    match operation:
        case "number" | "flag":
            name = inputs[0]
        case "differs":
            name = f"{inputs[0]}_differs_{inputs[1]}"
        case "equals":
            name = f"{inputs[0]}_is_{constant}"
        case _:
            name = f"{inputs[0]}_{operation}"
    return FeatureSpec(name, scope, operation, inputs, constant=constant)


def prior(target: Target, *inputs: str, scope: Scope = "payment") -> FeatureSpec:
    """Return the smoothed rate of `target` for a category, learnt in training and shipped in the bundle.

    >>> prior("approval", "processor", "card_network", scope="candidate").name
    'processor_x_card_network_approval_prior'
    """
    return FeatureSpec(f"{'_x_'.join(inputs)}_{target}_prior", scope, "prior", inputs, target=target)


def _of(
    entity: str, operation: StateOperation, inputs: tuple[str, ...], words: str, width: int | None = None
) -> FeatureSpec:
    """Return a feature of an entity's state; without a width it looks as far back as the state does."""
    layout = LAYOUTS.get(entity)
    if layout is None:
        msg = f"expected one of the entities {', '.join(LAYOUTS)}, got {entity!r}"
        raise ValueError(msg)
    if operation in ("count", "rate", "mean", "relative") and (
        unknown := [name for name in inputs if name not in layout.measures]
    ):
        msg = f"{entity} keeps {', '.join(layout.measures)}, not {unknown[0]}"
        raise ValueError(msg)
    if width is not None and not 0 < width <= layout.horizon:
        msg = f"{entity} is remembered for {span(layout.horizon)}, a window of {width} us cannot be served"
        raise ValueError(msg)
    scope: Scope = "candidate" if entity.startswith("processor") else "payment"
    name = f"{entity}_{words}" + ("" if width is None else f"_{span(width)}")
    spec = FeatureSpec(name, scope, operation, inputs, entity, layout.horizon if width is None else width)
    if spec.width % spec.hop:
        msg = f"{name}: expected a whole number of hops of {spec.hop} us, got a window of {spec.width} us"
        raise ValueError(msg)
    return spec


def count(entity: str, measure: str, width: int) -> FeatureSpec:
    """Return how much of `measure` an entity had in a window.

    >>> count("card", "attempts", DAY).name
    'card_attempts_24h'
    """
    return _of(entity, "count", (measure,), measure, width)


def rate(entity: str, part: str, whole: str, width: int) -> FeatureSpec:
    """Return `part` per `whole` of an entity in a window.

    >>> rate("merchant", "approved", "results", HOUR).name
    'merchant_approved_per_results_1h'
    """
    return _of(entity, "rate", (part, whole), f"{part}_per_{whole}", width)


def mean_amount(entity: str, width: int) -> FeatureSpec:
    """Return the mean amount of an entity's attempts in a window, in minor units.

    >>> mean_amount("card", 7 * DAY).name
    'card_amount_mean_7d'
    """
    return _of(entity, "mean", ("amount_minor", "attempts"), "amount_mean", width)


def relative_amount(entity: str, width: int) -> FeatureSpec:
    """Return this payment's amount over the entity's mean amount in a window.

    >>> relative_amount("card", 30 * DAY).name
    'card_amount_relative_30d'
    """
    return _of(entity, "relative", ("amount_minor", "attempts"), "amount_relative", width)


def distinct(entity: str, width: int) -> FeatureSpec:
    """Return how many different values of the entity's other field its attempts named in a window.

    Exact up to the layout's capacity, which stands for that many or more.

    >>> distinct("device", HOUR).name
    'device_distinct_card_token_1h'
    """
    field = LAYOUTS[entity].distinct
    if field is None:
        msg = f"{entity} remembers no different values: name a field in its layout"
        raise ValueError(msg)
    return _of(entity, "distinct", (field,), f"distinct_{field}", width)


def since(entity: str, what: str) -> FeatureSpec:
    """Return the seconds since an entity's last attempt, result or approved result.

    >>> since("card", "attempt").name
    'card_seconds_since_attempt'
    """
    if what not in SINCE:
        msg = f"expected one of {', '.join(SINCE)}, got {what!r}"
        raise ValueError(msg)
    return _of(entity, "since", (what,), f"seconds_since_{what}")


def last(entity: str, what: str) -> FeatureSpec:
    """Return the amount of the entity's last attempt (minor units), or whether its last result was of a sort.

    >>> last("card", "approved").name, last("card", "amount_minor").name
    ('card_last_was_approved', 'card_last_amount_minor')
    """
    if what == "amount_minor":
        return _of(entity, "last", (what,), "last_amount_minor")
    if what not in CODES:
        msg = f"expected amount_minor or one of {', '.join(CODES)}, got {what!r}"
        raise ValueError(msg)
    return _of(entity, "last", (what,), f"last_was_{what}")


def decayed(entity: str, part: str) -> FeatureSpec:
    """Return the exponentially decayed rate of `part` among the results, with the half-life of the entity's layout.

    >>> decayed("processor", "approved").name
    'processor_approved_decayed'
    """
    if part not in DECAYED[1:]:
        msg = f"expected one of {', '.join(DECAYED[1:])}, got {part!r}"
        raise ValueError(msg)
    return _of(entity, "decayed", (part, "results"), f"{part}_decayed")


def streak(entity: str) -> FeatureSpec:
    """Return the declines since the entity's last approval; exact up to the layout's capacity, which stands for more.

    >>> streak("card").name
    'card_consecutive_declines'
    """
    if not LAYOUTS[entity].streak:
        msg = f"{entity} remembers no declines in a row: give its layout a streak"
        raise ValueError(msg)
    return _of(entity, "streak", (), "consecutive_declines")
