"""One policy plays one stage: payments, outcomes and retries in the order of simulated time.

Outcomes arrive when they settle and retries go out when their wait is over, so a policy never knows more than it would. This
module must not know any policy, nor what a result is worth.
"""

import heapq
from enum import IntEnum
from itertools import count
from typing import Final, NamedTuple

from benchmarks.policies.policy import Again, Policy, Send
from benchmarks.policies.stage import Stage
from contracts.outcome import Outcome
from trainer.simulate.gateway import Attempt
from trainer.simulate.policies import MOST_RETRIES

_END_OF_TIME: Final = 2**62


class _Kind(IntEnum):
    REPORT = 0
    QUESTION = 1
    RETRY = 2


class Played(NamedTuple):
    """What a policy did.

    Attributes
    ----------
    sent
        By payment, what was decided; None where the payment was not sent.
    chains
        By payment, its attempts; a payer who left a challenge has the one that was meant to be.
    left
        Rows of payers who left.
    """

    sent: list[Send | None]
    chains: list[list[Attempt]]
    left: set[int]


class _Round:
    def __init__(self, stage: Stage, policy: Policy) -> None:
        self._stage = stage
        self._policy = policy
        self._order = count()
        self._todo: list[tuple[int, int, _Kind, int, Attempt | Again, Outcome | None]] = []
        self.chains: list[list[Attempt]] = [[] for _ in range(len(stage))]

    def until(self, at_us: int) -> None:
        """Do what is due up to `at_us`."""
        while self._todo and self._todo[0][0] <= at_us:
            now, _, kind, row, what, outcome = heapq.heappop(self._todo)
            if kind is _Kind.REPORT:
                assert isinstance(what, Attempt)
                assert outcome is not None
                self._policy.learn(what, outcome, now)
            elif kind is _Kind.QUESTION:
                again = self._policy.retry(self.chains[row], now)
                if again is not None:
                    self._push(now + int(again.wait_s * 1e6), _Kind.RETRY, row, again)
            else:
                assert isinstance(what, Again)
                last = self.chains[row][-1]
                self.went(
                    self._stage.gateway.send_again(last, what.processor, what.wait_s, authenticate=what.authenticate)
                )

    def went(self, attempt: Attempt) -> None:
        """Take note of an attempt that was sent: what will be heard of it, and when."""
        self.chains[attempt.row].append(attempt)
        for at_us, outcome in self._stage.gateway.reports(attempt, None):
            self._push(at_us, _Kind.REPORT, attempt.row, attempt, outcome)
        if not attempt.approved and attempt.number <= MOST_RETRIES:
            self._push(attempt.settled_us, _Kind.QUESTION, attempt.row, attempt)

    def _push(self, at_us: int, kind: _Kind, row: int, what: Attempt | Again, outcome: Outcome | None = None) -> None:
        heapq.heappush(self._todo, (at_us, next(self._order), kind, row, what, outcome))


def play(stage: Stage, policy: Policy) -> Played:
    """Let a policy play a stage to its end, the last retry's outcome included."""
    turns = _Round(stage, policy)
    gateway = stage.gateway
    sent: list[Send | None] = []
    left: set[int] = set()
    for row, at_us in enumerate(stage.payments.at_us.tolist()):
        turns.until(at_us)
        send = policy.decide(row, at_us)
        sent.append(send)
        if send is None:
            continue
        attempt = gateway.send(row, send.processor, challenge=send.challenge)
        if send.challenge and gateway.leaves_challenge(row):
            left.add(row)
            turns.chains[row].append(attempt)
        else:
            turns.went(attempt)
    turns.until(_END_OF_TIME)
    return Played(sent, turns.chains, left)
