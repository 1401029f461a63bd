"""The compiled kernels, where a compiler made them: each answers as its pure twin does, to the last bit.

Without them everything works, slower. This module must not know what they compute.
"""

from collections.abc import Mapping
from typing import NamedTuple

from contracts.bundle import PolicyParameters
from service.policy.constraints import Able
from service.policy.fees import Fees
from service.policy.rules import Rules
from service.policy.terms import Agreements

try:
    from service.policy.choice_native import Kernel
    from service.policy.facts_native import Facts
    from service.policy.grid_native import best_of
    from service.policy.plan_native import Planning
    from service.policy.standings_native import standings_of
except ImportError:
    from service.policy.grid import best_of
    from service.policy.standings import standings_of

    THERE = False
else:
    THERE = True

__all__ = ["THERE", "Kernels", "best_of", "kernels_of", "standings_of"]


class Kernels(NamedTuple):
    """The kernels of one bundle: of auth and routing, and of retries."""

    choice: "Kernel"
    retry: "Planning"


def kernels_of(
    parameters: PolicyParameters, fees: Fees, rules: Rules, agreements: Agreements, ables: Mapping[str, Able]
) -> Kernels:
    """Return the kernels that decide for one bundle."""
    facts = Facts(rules, fees, agreements, ables, parameters.low_value_minor)
    return Kernels(Kernel(parameters, facts), Planning(parameters, facts))
