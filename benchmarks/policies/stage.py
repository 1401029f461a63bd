"""The stage: one scenario and seed with all its payments drawn, on which every policy plays the same piece.

This module must not know any policy.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from contracts.payment import AuthRequest
from trainer.simulate.changes import Mark, Stretch
from trainer.simulate.facts import DAY_US, HOUR_US, Array
from trainer.simulate.gateway import FRAUD_FAILS_CHALLENGE, LEAVE_CHALLENGE, Gateway
from trainer.simulate.payments import Payments, generate
from trainer.simulate.scenarios import SCENARIOS, stage
from trainer.simulate.world import World

MINUTE_S: Final = 60
HOUR_S: Final = 3_600
DAY_S: Final = 86_400
_FIRST_NUMBER: Final = 2**40
_NUMBERS_A_SEED: Final = 10**7


class Billing(NamedTuple):
    """How long a scenario is on, and how many payments there are: of a whole run and of a quick one."""

    seconds: int
    payments: int
    quick_seconds: int
    quick_payments: int


PROGRAMME: Final[dict[str, Billing]] = {
    "calm": Billing(DAY_S, 2_000, DAY_S, 300),
    "drift": Billing(2 * DAY_S, 2_500, 2 * DAY_S, 300),
    # 20 payments a second.
    "processor_outage": Billing(4 * MINUTE_S, 4_800, 60, 1_200),
    "brown_out": Billing(HOUR_S, 2_400, HOUR_S // 2, 500),
    "issuer_outage": Billing(6 * HOUR_S, 2_000, 6 * HOUR_S, 300),
    "fraud_attack": Billing(3 * HOUR_S, 2_000, 3 * HOUR_S, 300),
    "payday": Billing(3 * DAY_S, 2_000, 3 * DAY_S, 300),
    "new_processor": Billing(DAY_S, 2_000, DAY_S, 600),
    "new_bin": Billing(DAY_S, 2_000, DAY_S, 300),
    "price_change": Billing(DAY_S, 2_000, DAY_S, 300),
}

if list(PROGRAMME) != list(SCENARIOS):
    _msg = "expected every scenario of the simulator on the programme, in its order"
    raise ValueError(_msg)


@dataclass(frozen=True, slots=True)
class Stage:
    """One scenario and seed.

    Attributes
    ----------
    world, marks, stretch
        The world of the scenario, what happens in it, and when it is on.
    payments, gateway, requests
        The payments, who answers for their processors, and how they are asked about.
    stays
        True probability that the payer comes back from a challenge that the shop had not planned, shape (n,).
    """

    name: str
    seed: int
    world: World
    marks: tuple[Mark, ...]
    stretch: Stretch
    payments: Payments
    gateway: Gateway
    requests: tuple[AuthRequest, ...]
    stays: Array

    def __len__(self) -> int:
        return len(self.payments)


def begins_us(world: World) -> int:
    """Return when every scenario begins: at noon after the last whole day of the history."""
    return world.days * DAY_US + 12 * HOUR_US


def build(world: World, name: str, seed: int, *, quick: bool) -> Stage:
    """Stage a scenario over `world`; the same arguments give the same stage."""
    billing = PROGRAMME[name]
    seconds, count = billing[2:] if quick else billing[:2]
    start = begins_us(world)
    stretch = Stretch(start, start + seconds * 1_000_000)
    staged = stage(world, name, stretch, seed)
    first = _FIRST_NUMBER + seed * _NUMBERS_A_SEED
    payments = generate(staged.world, (3, seed), count, stretch.begins_us, stretch.ends_us, first)
    gateway = Gateway(staged.world, payments, "b")
    return Stage(
        name,
        seed,
        staged.world,
        staged.marks,
        stretch,
        payments,
        gateway,
        tuple(gateway.auth_request(row) for row in range(count)),
        stays(payments, payments.is_fraud),
    )


def stays(payments: Payments, is_fraud: Array) -> Array:
    """Return the probability that a payer comes back from an unplanned challenge; 1 where none would be new."""
    newly = ~(payments.merchant_initiated | payments.with_3ds)
    return np.where(newly, 1.0 - np.where(is_fraud, FRAUD_FAILS_CHALLENGE, LEAVE_CHALLENGE), 1.0)
