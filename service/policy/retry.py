"""Retry: what a decline permits, and which permitted retry is worth most.

This module must not know how probabilities came about, nor how an answer is sent.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from contracts.bundle import PolicyParameters
from contracts.inputs import Standing, Variant
from contracts.payment import RetryRequest
from service.ledger import Entry
from service.policy.constraints import Able
from service.policy.fees import Fees
from service.policy.grid import Best, best_of
from service.policy.outlook import Outlook
from service.policy.permit import Permit, Permits
from service.policy.plan import Ordinary, Planner, RetryChoice
from service.policy.rules import Rules
from service.policy.terms import Agreements

__all__ = ["Permit", "Retrier", "RetryChoice"]


class Retrier:
    """Answers what follows a decline, for one bundle."""

    __slots__ = ("_permits", "_planner")

    def __init__(
        self,
        parameters: PolicyParameters,
        fees: Fees,
        rules: Rules,
        agreements: Agreements,
        ables: Mapping[str, Able],
        best: Best = best_of,
        ordinary: Ordinary | None = None,
    ) -> None:
        self._permits = Permits(rules, parameters.retry.horizon_seconds, parameters.retry.waits_seconds)
        self._planner = Planner(parameters, fees, agreements, Outlook(ables), rules.network, best, ordinary)

    def permit(self, request: RetryRequest, now: datetime, ledger: Sequence[Entry] = ()) -> Permit:
        """Say what the rules permit after a decline; `Policy.permit` says how."""
        return self._permits.permit(request, now, ledger)

    def waits(self, permit: Permit) -> tuple[int, ...]:
        """Return the waits worth scoring under a permit, rising; none if nothing may be sent."""
        return self._planner.waits(permit)

    def modes(self, request: RetryRequest, permit: Permit) -> tuple[Variant, ...]:
        """Return the ways of sending the retry that are worth scoring, the first always."""
        return self._planner.modes(request, permit)

    def plan(
        self,
        request: RetryRequest,
        permit: Permit,
        processors: tuple[str, ...],
        waits: tuple[int, ...],
        probability: Sequence[Sequence[float]],
        now: datetime,
        *,
        standings: Sequence[Standing] = (),
        ledger: Sequence[Entry] | None = None,
        modes: tuple[Variant, ...] = (),
    ) -> RetryChoice:
        """Choose the permitted retry of the highest expected value; `Policy.plan` says how."""
        if ledger and tuple(ledger) != permit.ledger:
            # Another system was faster: what it took is gone, and so may be the room that the permit saw.
            permit = self._permits.permit(request, now, ledger)
        return self._planner.plan(request, permit, processors, waits, probability, now, standings, modes)
