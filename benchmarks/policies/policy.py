"""What a policy is asked, and what it may answer: the port between the simulator and whoever decides.

This module must not know any policy.
"""

from typing import NamedTuple, Protocol

from contracts.outcome import Outcome
from trainer.simulate.gateway import Attempt


class Send(NamedTuple):
    """Send the first attempt through this processor, after a 3DS challenge if `challenge`."""

    processor: str
    challenge: bool = False


class Again(NamedTuple):
    """Send once more through this processor, `wait_s` seconds after the question, with 3DS if `authenticate`."""

    processor: str
    wait_s: float = 0.0
    authenticate: bool = False


class Policy(Protocol):
    """Decides about the payments of one stage, in order of time; a payment is named by its row.

    Times are microseconds since the start of the world. A policy sees of an attempt what a gateway sees: its processor,
    status, codes, latency and times. Only the oracles look at what is never shown.
    """

    name: str

    def decide(self, row: int, at_us: int) -> Send | None:
        """Say how a new payment is sent; None when it is not."""
        ...

    def retry(self, attempts: list[Attempt], at_us: int) -> Again | None:
        """Say what follows on a failure, the last of a payment's `attempts`; None when nothing does."""
        ...

    def learn(self, attempt: Attempt, outcome: Outcome, at_us: int) -> None:
        """Hear of a result when it is known: once, or first as a timeout and later as what it became."""
        ...
