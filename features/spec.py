"""The definition of one feature, and the words it may be made of.

A spec says what a feature is; ``features.assemble`` says how one payment gets it, ``features.offline`` how a history does.

This module must not know the catalog.
"""

from dataclasses import dataclass
from typing import Final, Literal

from features.clock import DAY, HOUR, MINUTE
from features.layout import INDEX, LAYOUTS

ABSENT: Final = -1.0
"""The value of a feature whose input is not there. No feature takes it otherwise."""

Scope = Literal["payment", "candidate", "retry"]
"""Whether a feature is the same for the whole payment, differs by candidate processor, or by planned retry."""

Operation = Literal[
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
    "count",  # a measure summed over a window
    "rate",  # one measure over another, summed over a window
    "mean",  # the amount per attempt over a window, minor units
    "relative",  # this payment's amount over that mean
    "since",  # seconds since the entity's last attempt
]

Target = Literal["approval", "chargeback", "retry"]

_WINDOW_NAMES: Final = {15 * MINUTE: "15m", HOUR: "1h", DAY: "24h", 7 * DAY: "7d", 30 * DAY: "30d"}


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
        Fields of the payment (static operations) or measures (window operations).
    entity
        Kind of entity whose state a window operation reads.
    width
        Window in microseconds; its hop is that of the ring that serves it.
    constant
        What `equals` compares with.
    target
        What a `prior` is the rate of.
    default
        The value when an input is absent, or when the entity was not seen in its longest window.
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
    def ring(self) -> int:
        """Position of the ring that serves this window: the one with the finest hop that reaches far enough."""
        assert self.entity is not None
        rings = LAYOUTS[self.entity].rings
        return next(position for position, ring in enumerate(rings) if ring.reach >= self.width)

    @property
    def hop(self) -> int:
        """Hop of the window in microseconds."""
        assert self.entity is not None
        return LAYOUTS[self.entity].rings[self.ring].hop

    def words(self) -> str:
        """Return the definition as one line: what the fingerprint is made of."""
        hop = self.hop if self.width else 0
        parts = (self.name, self.scope, self.operation, "+".join(self.inputs), self.entity or "", self.width, hop)
        return "|".join(map(str, (*parts, self.constant, self.target or "", self.default)))


def static(operation: Operation, *inputs: str, constant: str = "", scope: Scope = "payment") -> FeatureSpec:
    """Return a feature of the payment's own fields.

    >>> static("differs", "issuer_country", "merchant_country").name
    'issuer_country_differs_merchant_country'
    """
    match operation:
        case "number":
            name = inputs[0]
        case "differs":
            name = f"{inputs[0]}_differs_{inputs[1]}"
        case "equals":
            name = f"{inputs[0]}_is_{constant}"
        case "flag":
            name = inputs[0]
        case "present":
            name = f"{inputs[0]}_present"
        case _:
            name = f"{inputs[0]}_{operation}"
    return FeatureSpec(name, scope, operation, inputs, constant=constant)


def prior(target: Target, *inputs: str, scope: Scope = "payment") -> FeatureSpec:
    """Return the smoothed rate of `target` for a category, learnt in training and shipped in the bundle.

    >>> prior("approval", "processor", "card_network", scope="candidate").name
    'processor_x_card_network_approval_prior'
    """
    return FeatureSpec(f"{'_x_'.join(inputs)}_{target}_prior", scope, "prior", inputs, target=target)


def count(entity: str, measure: str, width: int, scope: Scope = "payment") -> FeatureSpec:
    """Return how much of `measure` an entity had in a window.

    >>> count("card", "attempts", DAY).name
    'card_attempts_24h'
    """
    _check(measure)
    return FeatureSpec(f"{entity}_{measure}_{_WINDOW_NAMES[width]}", scope, "count", (measure,), entity, width)


def rate(entity: str, part: str, whole: str, width: int, scope: Scope = "payment") -> FeatureSpec:
    """Return `part` per `whole` of an entity in a window.

    >>> rate("merchant", "approved", "results", HOUR).name
    'merchant_approved_per_results_1h'
    """
    _check(part, whole)
    name = f"{entity}_{part}_per_{whole}_{_WINDOW_NAMES[width]}"
    return FeatureSpec(name, scope, "rate", (part, whole), entity, width)


def mean_amount(entity: str, width: int) -> FeatureSpec:
    """Return the mean amount of an entity's attempts in a window, in minor units.

    >>> mean_amount("card", 7 * DAY).name
    'card_amount_mean_7d'
    """
    name = f"{entity}_amount_mean_{_WINDOW_NAMES[width]}"
    return FeatureSpec(name, "payment", "mean", ("amount_minor", "attempts"), entity, width)


def relative_amount(entity: str, width: int) -> FeatureSpec:
    """Return this payment's amount over the entity's mean amount in a window.

    >>> relative_amount("card", 30 * DAY).name
    'card_amount_relative_30d'
    """
    name = f"{entity}_amount_relative_{_WINDOW_NAMES[width]}"
    return FeatureSpec(name, "payment", "relative", ("amount_minor", "attempts"), entity, width)


def since_last(entity: str) -> FeatureSpec:
    """Return the seconds since an entity's last attempt, within its longest window.

    >>> since_last("card").name
    'card_seconds_since_attempt'
    """
    width = LAYOUTS[entity].horizon
    return FeatureSpec(f"{entity}_seconds_since_attempt", "payment", "since", ("attempts",), entity, width)


def _check(*measures: str) -> None:
    for measure in measures:
        if measure not in INDEX:
            msg = f"expected one of the measures {', '.join(INDEX)}, got {measure!r}"
            raise ValueError(msg)
