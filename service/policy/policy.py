"""The policy of one bundle: parameters, fees and rules compiled, and the four questions it answers.

This module must not know how probabilities came about, nor how an answer is sent.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from contracts.bundle import Manifest
from contracts.payment import Payment, RetryRequest
from service.policy.choice import Choice, Chooser
from service.policy.defaults import check
from service.policy.fees import Fees
from service.policy.retry import Permit, Retrier, RetryChoice
from service.policy.rules import Rules


class Policy:
    """Pure choices: the same question under the same bundle, rules and day has the same answer.

    Attributes
    ----------
    policy_version : str
        Version of the parameters and a hash of the rules.
    """

    __slots__ = ("_chooser", "_retrier", "policy_version")

    def __init__(self, policy_version: str, chooser: Chooser, retrier: Retrier) -> None:
        self.policy_version = policy_version
        self._chooser = chooser
        self._retrier = retrier

    @classmethod
    def compile(cls, manifest: Manifest, rules: Rules) -> "Policy":
        """Compile what a bundle decides with.

        Raises
        ------
        ParameterError
            The bundle's policy parameters contradict themselves.
        """
        parameters = manifest.policy
        check(parameters)
        fees = Fees(manifest.processors)
        return cls(
            policy_version=f"{parameters.version}+{rules.fingerprint}",
            chooser=Chooser(parameters, fees, rules),
            retrier=Retrier(parameters, fees, rules),
        )

    def choose(
        self,
        request: Payment,
        processors: tuple[str, ...],
        approval: Sequence[float],
        risk: float,
        *,
        kind: Literal["auth", "routing"],
        now: datetime,
        degraded: tuple[str, ...] = (),
    ) -> Choice:
        """Choose an action and a processor.

        Each candidate has an expected value, in minor units, with p its approval probability::

            value = p * (amount * margin_share - cost_approved)     what an approval leaves after fees
                  - (1 - p) * cost_failed                           what a decline costs
                  - p * risk * (amount + chargeback_fee)            an approved fraud loses the goods and a fee

        The risk term hangs on p because a declined payment cannot be charged back. The highest value is best, ties go
        by the static order of `processors`; where an approval leaves nothing, the higher approval probability is best
        (`candidate.rank` says why).

        For `auth` the action follows risk: decline, review or challenge from the bundle's thresholds; a challenge
        needs a customer and no 3DS before, else it is a review, or an approval. A best approval probability below the
        minimum declines. A negative expected value does not: it is named as a reason. Margins are averages that know
        neither the basket nor the customer's next ten years, may be left at zero, and would turn into a second fraud
        rule that nobody set. For `routing` the payment is sent, so the action is always approve.

        A share of payments is explored among near equals (`exploration.BOUND`), never when anything is degraded or
        the payment is declined. Every candidate's propensity is in the ranking.

        Parameters
        ----------
        request : Payment
            The payment asked about.
        processors : tuple of str
            Candidates in the merchant's static order. Without one, the action still follows risk, and the reason
            `no_candidate` is given.
        approval : sequence of float
            Approval probability of each candidate.
        risk : float
            Probability of a chargeback, 0 to 1.
        kind : {"auth", "routing"}
            Which question is asked.
        now : datetime
            Moment of the question, with an offset: rules are those of its UTC day.
        degraded : tuple of str
            What the estimates had to do without.

        Raises
        ------
        ValueError
            `approval` is not as long as `processors`, or `risk` is no probability: a fault of the caller. A single
            approval that is no probability only makes its candidate ineligible.
        """
        return self._chooser.choose(request, processors, approval, risk, kind=kind, now=now, degraded=degraded)

    def permit(self, request: RetryRequest, now: datetime) -> Permit:
        """Say what the rules of the day permit after a decline.

        The decline's class and the initiator give the treatment. An advised wait and the treatment's own count from
        the decline (from now, if its time is not given). Limits count the request's attempts, the decline included,
        in their rolling windows; a used up limit stops everything.
        """
        return self._retrier.permit(request, now)

    def waits(self, permit: Permit) -> tuple[int, ...]:
        """Return the waits (seconds from now) worth scoring: the earliest permitted, and the grid's after it."""
        return self._retrier.waits(permit)

    def plan(
        self,
        request: RetryRequest,
        permit: Permit,
        processors: tuple[str, ...],
        waits: tuple[int, ...],
        probability: Sequence[Sequence[float]],
        now: datetime,
    ) -> RetryChoice:
        """Choose when and where to retry, or that it is not worth it.

        Over permitted waits and processors the highest expected value is chosen, in minor units, with p the success
        probability::

            value = p * (amount * margin_share - cost_approved) - (1 - p) * cost_failed

        It must reach the bundle's minimum value, and p the minimum probability. Ties go to the likelier, then the
        sooner, then the static order.

        Parameters
        ----------
        probability : sequence of sequences
            ``probability[w][i]`` for ``waits[w]`` and ``processors[i]``; floats, not numpy scalars (they are slow).
        """
        return self._retrier.plan(request, permit, processors, waits, probability, now)
