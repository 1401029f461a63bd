"""The oracles: they know every true probability, each decline's cause and each fee, but never a draw.

`Oracle` sees of fraud what can be seen (`suspicion`); `AllKnowing` is told who is a fraudster. Both keep the networks' rules, and
both take one attempt at a time: what is best now, whatever may follow.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from benchmarks.policies.judge import Judge
from benchmarks.policies.policy import Again, Send
from benchmarks.policies.stage import DAY_S, Stage, stays
from benchmarks.policies.worth import at_risk, gains, supposing
from contracts.outcome import Outcome
from trainer.simulate.approval import Declined, first_attempt, next_attempt
from trainer.simulate.facts import AUTHENTICATION, Array
from trainer.simulate.gateway import Attempt
from trainer.simulate.payments import Payments
from trainer.simulate.policies import stepped_up

WAITS_S: Final = (1.0, 60.0, 300.0, 3_600.0, 21_600.0, *[day * float(DAY_S) for day in range(1, 11)])


class Oracle:
    """Sends and retries what is truly worth most, fraud as far as it can be seen.

    Parameters
    ----------
    stage
        What is played.
    fraud
        How likely it holds each payment to be fraud, shape (n,).
    """

    name = "oracle"

    def __init__(self, stage: Stage, fraud: Array) -> None:
        self._stage = stage
        self._fraud = fraud
        self._judge = Judge(stage)
        self._waits = np.array(WAITS_S)
        asked = self._first(challenged=False)
        challenged = self._first(challenged=True)
        both = np.stack([asked, challenged], axis=1).reshape(len(stage), -1)
        best = both.argmax(axis=1)
        self._best = np.where(both.max(axis=1) > 0.0, best, -1).tolist()

    def decide(self, row: int, at_us: int) -> Send | None:
        """Send through the best processor and in the best way, if it is worth anything."""
        best = self._best[row]
        if best < 0:
            return None
        challenge, processor = divmod(best, len(self._stage.gateway.names))
        return Send(self._stage.gateway.names[processor], bool(challenge))

    def retry(self, attempts: list[Attempt], at_us: int) -> Again | None:
        """Send again when and where it is worth most, if the networks let it and it is worth anything."""
        last = attempts[-1]
        allowed = self._judge.allowed(attempts, at_us, self._waits)
        if not allowed.any():
            return None
        asked_for = last.cause == AUTHENTICATION or self._judge.meaning(last) == "authenticate"
        steps_up = asked_for and not last.with_3ds
        worth = self._again(last, at_us, authenticate=steps_up)
        worth[~allowed] = -np.inf
        wait, processor = divmod(int(worth.argmax()), worth.shape[1])
        if not worth[wait, processor] > 0.0:
            return None
        return Again(self._stage.gateway.names[processor], float(self._waits[wait]), steps_up)

    def learn(self, attempt: Attempt, outcome: Outcome, at_us: int) -> None:
        """Keep count of what the networks limit; there is nothing else to learn."""
        self._judge.saw(attempt)

    def _first(self, *, challenged: bool) -> Array:
        """Return what first attempts are worth, minor units, (n, processors); -inf where a challenge would be no new one."""
        stage, world = self._stage, self._stage.world
        payments = stage.payments
        total = np.zeros((len(payments), len(world.processors)))
        for is_fraud in (False, True):
            supposed = supposing(payments, is_fraud)
            if challenged:
                supposed = stepped_up(supposed)
            issuer, passing = first_attempt(world, supposed)
            worth = self._worth(issuer[:, None] * passing, supposed, payments.at_us)
            if challenged:
                worth *= stays(payments, supposed.is_fraud)[:, None]
            total += np.where(is_fraud, self._fraud, 1.0 - self._fraud)[:, None] * worth
        total[payments.at_us[:, None] < world.processors.joins_us] = -np.inf
        if challenged:
            total[payments.with_3ds | payments.merchant_initiated] = -np.inf
        return total

    def _again(self, last: Attempt, at_us: int, *, authenticate: bool) -> Array:
        """Return what the next attempt is worth, minor units, (waits, processors)."""
        world, count = self._stage.world, len(self._waits)
        one = self._stage.payments.take(np.full(count, last.row))
        with_3ds = np.full(count, last.with_3ds or (authenticate and not bool(one.merchant_initiated[0])))
        one = replace(one, with_3ds=with_3ds)
        declined = Declined(
            np.full(count, last.cause),
            np.full(count, last.processor),
            np.full(count, last.passed),
            np.full(count, last.number + 1),
            self._waits,
            with_3ds,
        )
        then_us = at_us + (self._waits * 1e6).astype(np.int64)
        issuer, passing = next_attempt(world, one, declined, then_us)
        total = np.zeros((count, len(world.processors)))
        for is_fraud in (False, True):
            supposed = replace(one, is_fraud=np.full(count, is_fraud))
            weight = self._fraud[last.row] if is_fraud else 1.0 - self._fraud[last.row]
            total += weight * self._worth(issuer[:, None] * passing, supposed, then_us)
        total[then_us[:, None] < world.processors.joins_us] = -np.inf
        return total

    def _worth(self, approval: Array, payments: Payments, at_us: Array) -> Array:
        approved, failed = gains(self._stage.world, payments, at_us)
        risk = at_risk(payments, payments.is_fraud, payments.with_3ds)
        worth: Array = approval * (approved - risk[:, None]) + (1.0 - approval) * failed
        return worth


class AllKnowing(Oracle):
    """The oracle that is also told who is a fraudster."""

    name = "oracle, told fraud"

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage, stage.payments.is_fraud.astype(np.float64))
