"""The policy of one bundle: parameters, fees and rules compiled, and the four questions it answers.

This module must not know how probabilities came about, nor how an answer is sent.
"""

from collections.abc import Container, Sequence
from datetime import UTC, datetime
from typing import Literal

from contracts.bundle import Manifest
from contracts.inputs import PolicyInputs, Standing, Variant
from contracts.outcome import Status
from contracts.payment import Payment, RetryRequest
from features.clock import micros, moment
from service.ledger import Entry, Limit, entries
from service.policy import blame, grid, native
from service.policy.choice import Choice, Chooser
from service.policy.constraints import compile_capabilities
from service.policy.defaults import check
from service.policy.fees import Fees
from service.policy.limits import attempt_limits
from service.policy.lineup import Weigher
from service.policy.modes import NONE, variants_of
from service.policy.retry import Permit, Retrier, RetryChoice
from service.policy.rule import Blame
from service.policy.rules import Rules
from service.policy.standings import standings_of
from service.policy.terms import Agreements


class Policy:
    """Pure choices: the same question under the same bundle, rules and day has the same answer.

    `policy_version` is the version of the parameters and a hash of the rules.
    """

    __slots__ = ("_chooser", "_kernel", "_known", "_retrier", "_rules", "_spread", "_standings", "policy_version")

    def __init__(
        self,
        policy_version: str,
        chooser: Chooser,
        retrier: Retrier,
        rules: Rules,
        known: Container[str] | None,
        spread: float,
        kernels: native.Kernels | None = None,
    ) -> None:
        self.policy_version = policy_version
        self._kernel = None if kernels is None else kernels.choice
        self._standings = standings_of if kernels is None else native.standings_of
        self._known = known
        self._spread = spread
        self._chooser = chooser
        self._retrier = retrier
        self._rules = rules

    @classmethod
    def compile(cls, manifest: Manifest, rules: Rules, *, compiled: bool = native.THERE) -> "Policy":
        """Compile what a bundle decides with.

        Parameters
        ----------
        compiled : bool
            Whether the kernels decide what they can; they answer as the pure modules do, to the last bit.

        Raises
        ------
        ParameterError
            The bundle's policy parameters contradict themselves.
        """
        parameters, hierarchy = manifest.policy, manifest.hierarchy
        check(parameters)
        fees = Fees(manifest.processors, rules.network, rules.countries("sca"))
        agreements = Agreements(parameters, manifest.merchants)
        ables = compile_capabilities(manifest.capabilities, rules.network)
        kernels = native.kernels_of(parameters, fees, rules, agreements, ables) if compiled else None
        planning = (grid.best_of, None) if kernels is None else (native.best_of, kernels.retry.best)
        return cls(
            policy_version=f"{parameters.version}+{rules.fingerprint}",
            chooser=Chooser(parameters, fees, rules, agreements, Weigher(fees, ables)),
            retrier=Retrier(parameters, fees, rules, agreements, ables, *planning),
            rules=rules,
            kernels=kernels,
            known=None if hierarchy is None else frozenset(hierarchy.processors),
            spread=0.5 if hierarchy is None else hierarchy.processor_spread,
        )

    def judge(
        self,
        network: str,
        *,
        processor: str,
        status: Status | None,
        response_code: str | None,
        advice_code: str | None,
        country: str,
        initiator: str | None,
        now: datetime,
    ) -> Blame:
        """Say whose fault a result is, under the rules of the day; `service.policy.blame.judge` says how."""
        return blame.judge(
            self._rules.at(now.astimezone(UTC).date()),
            network,
            processor=processor,
            status=status,
            response_code=response_code,
            advice_code=advice_code,
            country=country,
            initiator="merchant" if initiator == "merchant" else "customer",
        )

    def standings(self, processors: Sequence[str], blobs: Sequence[bytes | None], at: int) -> tuple[Standing, ...]:
        """Conclude how each candidate has been doing, as of `at` (microseconds).

        Parameters
        ----------
        processors : sequence of str
            The candidates.
        blobs : sequence of bytes or None
            Packed standings (`service.standing`), those of `service.standing.LEVELS` for each candidate in turn.
        """
        return self._standings(processors, blobs, at, known=self._known, spread=self._spread)

    def variants(self, request: Payment, kind: Literal["auth", "routing", "retry"]) -> tuple[Variant, ...]:
        """Return the ways of sending a payment that are worth an estimate, the one that was asked about first.

        An authentication is another one when the question is `auth`, a customer is there, and none was made; the other
        credential is when the request names both.
        """
        return variants_of(request, kind)

    def attempt_limits(self, request: Payment, now: datetime) -> tuple[Limit, ...]:
        """Return the limits on failed attempts in force for a payment's network, issuer's country and initiator.

        They are as `service.ledger` counts them, with the payment's amount where only the same amount counts.
        """
        return attempt_limits(self._rules, request, now)

    def choose(
        self,
        request: Payment,
        processors: tuple[str, ...],
        approval: Sequence[Sequence[float]],
        risk: float,
        *,
        kind: Literal["auth", "routing"],
        now: datetime,
        degraded: tuple[str, ...] = (),
        variants: tuple[Variant, ...] = (NONE,),
        standings: Sequence[Standing] = (),
        ledger: Sequence[Entry] = (),
    ) -> Choice:
        """Choose an action, a processor, and a way of sending.

        Every candidate is weighed in every way that may be used there. In minor units, with r the risk, p the approval
        probability of that way after recent outcomes, m the margin and L the amount and the chargeback's fee::

            value = p * (m - cost_approved - r * L) - (1 - p) * cost_failed            sent without an authentication
            value = p * (m - cost_approved) - (1 - p) * cost_failed                    authenticated before
            value = s * [p * (m - cost_approved) - (1 - p) * cost_failed] - fee        after a challenge
            s     = (1 - r) * (1 - abandonment) + r * (1 - fraud_stopped)

        The fraud term hangs on p because a declined payment cannot be charged back; after an authentication the issuer
        bears it. s is who comes back from a challenge: an honest payer who does not earns nothing. The highest value is
        best (`candidate.weigh` says what happens where an approval leaves nothing, and how ties go).

        For `auth` the action is that of the best way: approve, or challenge where an authentication is worth more. Risk
        thresholds stand above it: from `challenge_from` on only a challenge will do (a review, where no customer is
        there or no candidate can), then a review, then a decline. A best approval probability below the minimum declines
        too. A negative expected value does not: it is named as a reason. Margins are averages that know neither the
        basket nor the customer's next ten years, may be left at zero, and would turn into a second fraud rule that
        nobody set. For `routing` the payment is sent, so the action is always approve.

        Where the law wants authentication and no exemption holds, a challenge is the only way of an `auth`; if no
        candidate can, or the question is `routing`, the payment is sent as asked, and a reason says so. Attempts of the
        card that networks limit decline either question when a limit is used up.

        Candidates that cannot do what is asked, whose cap is reached, or that are down are ineligible. Those of the least
        severe kind are used all the same when all are, so that no payment is lost for want of a processor; what makes
        an attempt impossible (network or currency unsupported, no estimate) stays out.

        The processor is drawn: candidates that may well be better (`exploration.shares`), and those that were down and
        are tried again, each with its propensity in the ranking. They are not compared when anything is degraded, and
        nothing is drawn when the payment is declined.

        Parameters
        ----------
        request : Payment
            The payment asked about.
        processors : tuple of str
            Candidates in the merchant's static order. Without one, the action still follows risk, and the reason
            `no_candidate` is given.
        approval : sequence of sequences of float
            ``approval[v][i]`` for ``variants[v]`` and ``processors[i]``; floats, not numpy scalars (they are slow).
        risk : float
            Probability of a chargeback, 0 to 1.
        kind : {"auth", "routing"}
            Which question is asked.
        now : datetime
            Moment of the question, with an offset: rules are those of its UTC day.
        degraded : tuple of str
            What the estimates had to do without.
        variants : tuple of Variant
            As `variants` returns them.
        standings : sequence of Standing
            Of each candidate, or none.
        ledger : sequence of Entry
            Attempts of the card at the merchant; the one asked about is not counted.

        Raises
        ------
        ValueError
            `approval`, `variants`, `processors` and `standings` do not fit each other, or `risk` is no probability: a
            fault of the caller. A single approval that is no probability only takes its way out.
        """
        if self._kernel is not None and now.tzinfo is not None:
            choice = self._kernel.choose(
                request, processors, approval, risk, kind, micros(now), degraded, variants, standings, ledger
            )
            if choice is not None:
                return choice
        return self._chooser.choose(
            request,
            processors,
            approval,
            risk,
            kind=kind,
            now=now,
            degraded=degraded,
            variants=variants,
            standings=standings,
            ledger=ledger,
        )

    def decide(
        self,
        request: Payment,
        inputs: PolicyInputs,
        *,
        kind: Literal["auth", "routing"],
        degraded: tuple[str, ...] = (),
    ) -> Choice:
        """Choose as `choose` does, from what is kept with a decision: the hot path, which unpacks nothing it need not.

        Raises
        ------
        ValueError
            As `choose`; also where no risk was estimated.
        """
        risk = inputs.risk
        if risk is None:
            msg = "expected a risk, got none"
            raise ValueError(msg)
        if self._kernel is not None:
            told = (kind, inputs.moment_us, degraded, inputs.variants, inputs.standings, inputs.ledger)
            choice = self._kernel.choose(request, inputs.processors, inputs.approval, risk, *told)
            if choice is not None:
                return choice
        return self._chooser.choose(
            request,
            inputs.processors,
            inputs.approval,
            risk,
            kind=kind,
            now=moment(inputs.moment_us),
            degraded=degraded,
            variants=inputs.variants,
            standings=inputs.standings,
            ledger=entries(inputs.ledger),
        )

    def needed(
        self,
        request: Payment,
        processors: tuple[str, ...],
        variants: tuple[Variant, ...],
        risk: float,
        *,
        kind: Literal["auth", "routing"],
        at: int,
        ledger: bytes | None = None,
    ) -> tuple[Variant, ...]:
        """Return those of `variants` whose estimates a choice would look at: no other needs one.

        A choice over these alone, in this order, is the choice over all of them. Where no challenge is worth it those without an
        authentication are enough, where the law or the risk wants one, those with it. The ledger counts: where it has
        changed before the choice is made, what is needed may have changed with it.

        Parameters
        ----------
        processors : tuple of str
            The candidates that the choice will be among.
        variants : tuple of Variant
            As `variants` returns them.
        risk : float
            Probability of a chargeback, 0 to 1.
        at : int
            Moment of the question, microseconds.
        ledger : bytes, optional
            The packed attempts of the card at the merchant (`service.ledger`).

        Raises
        ------
        ValueError
            `risk` is no probability.
        """
        if self._kernel is not None:
            found = self._kernel.needed(request, processors, variants, risk, kind, at, ledger)
            if found is not None:
                return found
        return self._chooser.needed(
            request, processors, variants, risk, kind=kind, now=moment(at), ledger=entries(ledger)
        )

    def permit(self, request: RetryRequest, now: datetime, ledger: Sequence[Entry] = ()) -> Permit:
        """Say what the rules of the day permit after a decline.

        The decline's class and the initiator give the treatment. An advised wait and the treatment's own count from
        the decline (from now, if its time is not given). Limits count, in their rolling windows, what the ledger of the
        card knows together with the attempts of the question (`service.policy.limits.attempts_of`). A limit that is used
        up is waited for, no longer than the longest wait that is weighed; where that is not enough, and for a customer who
        is to do something now, it stops everything.

        What the ledger knows of this very payment comes first: an attempt that was approved, or a retry that was due and
        of which nothing was heard, is to be verified; one that was made already is asked about in its own right.

        Parameters
        ----------
        ledger : sequence of Entry
            Attempts of the card at the merchant, of the same initiator side (`service.ledger.entries`).
        """
        return self._retrier.permit(request, now, ledger)

    def waits(self, permit: Permit) -> tuple[int, ...]:
        """Return the waits (seconds from now) worth scoring: the earliest permitted, and the grid's after it.

        None where nothing may be sent; the earliest alone where a customer is to authenticate.
        """
        return self._retrier.waits(permit)

    def modes(self, request: RetryRequest, permit: Permit) -> tuple[Variant, ...]:
        """Return the ways of sending the retry that are worth scoring, the first always.

        The first is with 3DS where the decline asks for it, and as another credential where the one sent was refused as
        such. A second, with 3DS, is for a customer who is still there after an issuer's decline.
        """
        return self._retrier.modes(request, permit)

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
        """Choose when, where and how to retry, or that it is not worth it.

        Over permitted waits, processors and ways of sending the highest expected value is chosen, in minor units::

            p'    = sigmoid(logit(p) + shift * 2^(-wait / 6 h)) * (1 - excess * 2^(-wait / 1 h))
            burnt = quota_value / left                             the last attempt of a quota costs it whole
            value = share * (p' * (amount * margin_share - cost_approved) - (1 - p') * (cost_failed + burnt))

        with `share` the customers who come back from a challenge (1 without one) and `left` what the tightest limit has
        left at that moment. It must lie above the bundle's minimum value, and p' reach the minimum probability: a retry is
        never made because it is free. Of near equals the sooner is best (a thousandth of the value a day), then the
        likelier, then the static order. A processor that is down is out for an hour, one in a scheduled outage until its
        end, one that is being tried again for five minutes, one whose cap is reached until the month is over; one that
        cannot do what is asked is no candidate at all.

        Parameters
        ----------
        probability : sequence of sequences
            ``probability[m * len(waits) + w][i]`` for ``modes[m]``, ``waits[w]`` and ``processors[i]``; floats, not numpy
            scalars (they are slow).
        standings : sequence of Standing
            One for each processor, or none.
        ledger : sequence of Entry, optional
            The ledger as it is now, where it has changed since the permit.
        modes : tuple of Variant
            Of `modes`; without any, the rows are of the first of them.

        Raises
        ------
        ValueError
            `probability` has not a row for each wait and way of sending.
        """
        return self._retrier.plan(
            request, permit, processors, waits, probability, now, standings=standings, ledger=ledger, modes=modes
        )
