"""A shop with known truth: who routes, what each processor approves, and what any policy is truly worth."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trainer.evaluate.log import Log, Target

Array = npt.NDArray[Any]

LOGGING = np.array([[0.70, 0.20, 0.10], [0.25, 0.50, 0.25], [0.10, 0.30, 0.60], [0.34, 0.33, 0.33]])
APPROVAL = np.array([[0.60, 0.80, 0.70], [0.90, 0.85, 0.95], [0.50, 0.75, 0.65], [0.80, 0.80, 0.82]])
WANTED = np.array([[0.05, 0.90, 0.05], [0.10, 0.10, 0.80], [0.00, 1.00, 0.00], [1 / 3, 1 / 3, 1 / 3]])
FEES = np.array([30.0, 90.0, 60.0])
FAILED = np.array([5.0, 20.0, 10.0])
SHARE = 0.1
ACTIONS = ("north", "atlas", "harbor")


class Shop(NamedTuple):
    """Questions of four segments, each sent to one of three processors; shapes (n,) and (n, 3)."""

    segment: Array
    amount: Array
    taken: Array
    approved: Array

    @classmethod
    def open(cls, count: int, seed: int, logging: Array = LOGGING) -> "Shop":
        chance = np.random.default_rng(seed)
        segment = chance.integers(0, 4, count)
        taken = (chance.random((count, 1)) > logging[segment].cumsum(axis=1)[:, :-1]).sum(axis=1)
        approved = chance.random(count) < APPROVAL[segment, taken]
        return cls(segment, chance.gamma(1.5, 2_000.0, count), taken, approved)

    @property
    def worth(self) -> tuple[Array, Array]:
        """What an approval and a failure through each processor earns."""
        rows = len(self.taken)
        return self.amount[:, None] * SHARE - FEES, np.tile(-FAILED, (rows, 1))

    def log(self, reward: str = "approval", propensity: Array | None = None) -> Log:
        rows = np.arange(len(self.taken))
        won, lost = self.worth
        margin = np.where(self.approved, won[rows, self.taken], lost[rows, self.taken])
        return Log(
            actions=ACTIONS,
            taken=self.taken,
            propensity=LOGGING[self.segment, self.taken] if propensity is None else propensity,
            reward=self.approved.astype(float) if reward == "approval" else margin,
            payment=rows,
            offered=np.ones((len(rows), 3), dtype=bool),
        )

    def target(self, wanted: Array = WANTED) -> Target:
        return Target("the other", wanted[self.segment])

    def expected(self, reward: str = "approval", approval: Array = APPROVAL) -> Array:
        """What a model that knows `approval` expects of each processor."""
        p = approval[self.segment]
        won, lost = self.worth
        return p if reward == "approval" else p * won + (1 - p) * lost


def truth(reward: str = "approval", wanted: Array = WANTED) -> float:
    """What the policy is worth on average over all questions that there could be."""
    if reward == "approval":
        return float((wanted * APPROVAL).sum(axis=1).mean())
    won = 1.5 * 2_000.0 * SHARE - FEES
    return float((wanted * (APPROVAL * won - (1 - APPROVAL) * FAILED)).sum(axis=1).mean())
