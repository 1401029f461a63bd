"""Scenarios: named stories told over a stretch of a world's time, each the calm one and one thing more.

This module must not know how a change alters a world.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from trainer.simulate.changes import (
    Attack,
    Change,
    CommonPayday,
    Drift,
    Fault,
    IssuersDown,
    Joins,
    Mark,
    NewBin,
    PriceChange,
    Stretch,
    calmed,
)
from trainer.simulate.errors import SimulateError

if TYPE_CHECKING:
    from trainer.simulate.world import World


@dataclass(frozen=True, slots=True)
class Scenario:
    """One story.

    Attributes
    ----------
    name, what
        What it is called, and one sentence about it.
    change
        What happens beside the calm; None for nothing.
    """

    name: str
    what: str
    change: Change | None = None


class Staged(NamedTuple):
    """A world in which a scenario plays over a stretch, and the marks of what happens in it."""

    world: "World"
    scenario: Scenario
    stretch: Stretch
    marks: tuple[Mark, ...]


SCENARIOS: Final[dict[str, Scenario]] = {
    scenario.name: scenario
    for scenario in (
        Scenario("calm", "nothing out of the ordinary"),
        Scenario("drift", "the processors change places little by little", Drift(1.1)),
        Scenario("processor_outage", "a processor fails nearly everything, then comes back", Fault(1 / 4, 3 / 4, 0.98)),
        Scenario("brown_out", "a processor is slow and fails one in four", Fault(1 / 4, 3 / 4, 0.25, 6.0)),
        Scenario(
            "issuer_outage", "three issuers refuse nearly everything, whoever asks", IssuersDown(1 / 3, 2 / 3, 3, 9.0)
        ),
        Scenario("fraud_attack", "stolen cards are tested at one merchant", Attack(1 / 4, 3 / 4, 0.25)),
        Scenario("payday", "everybody is short of money until the payday", CommonPayday(2, 1.3, -0.4)),
        Scenario("new_processor", "a processor joins that no history knows", Joins(1 / 4, 0.3)),
        Scenario(
            "new_bin", "one Visa card in four goes over to an issuer that no history knows", NewBin(1 / 4, 0.25, 0.8)
        ),
        Scenario("price_change", "a processor raises its prices by a point and a half", PriceChange(1 / 4, 0.015)),
    )
}
"""Every scenario by name; sizes are chosen so that each matters and none swamps the rest."""


def stage(world: "World", name: str, stretch: Stretch, seed: int = 0) -> Staged:
    """Return a world in which a scenario plays; before the stretch it is the same world.

    Parameters
    ----------
    world
        The world as it was built.
    name
        One of `SCENARIOS`.
    stretch
        When the story is told. What it changes for good stays changed afterwards.
    seed
        Another one hits another processor, issuer or merchant.

    Raises
    ------
    SimulateError
        When there is no such scenario, or the world ends before the stretch does.
    """
    if name not in SCENARIOS:
        msg = f"expected a scenario of {', '.join(SCENARIOS)}, got {name}"
        raise SimulateError(msg)
    if not 0 < stretch.begins_us < stretch.ends_us <= world.calendar.edges_us[-1]:
        msg = "expected a stretch that begins after the world does and ends before it"
        raise SimulateError(msg)
    scenario = SCENARIOS[name]
    calm = calmed(world, stretch.begins_us)
    if scenario.change is None:
        return Staged(calm, scenario, stretch, ())
    rng = np.random.default_rng((world.seed, 53, list(SCENARIOS).index(name), seed))
    altered, marks = scenario.change.alter(calm, stretch, rng)
    return Staged(altered, scenario, stretch, marks)
