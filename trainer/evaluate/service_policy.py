"""What the service's own policy would have done about the attempts of a history.

Each is asked as a routing question: it was sent, so the question is through which processor. This module must not know where
probabilities come from.
"""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from contracts.payment import Payment, RoutingRequest
from trainer.evaluate.attempts import Attempts
from trainer.evaluate.bundle import Ready
from trainer.evaluate.log import Floats, Target

_FIELDS: Final = tuple(name for name in Payment.__struct_fields__ if name not in {"processors", "credentials"})
_ABSENT: Final[dict[str, str]] = {"card_token": "absent", "card_network": "absent", "issuer_country": "ZZ"}
"""What stands for a field that a question must have and the history has not: no rule and no fee speaks of it."""


def asked_of(ready: Ready, asked: Attempts, approval: Floats, risk: Floats) -> Target:
    """Return with which probability the policy of a bundle would have sent each attempt through each processor.

    Nothing is known of how processors were doing, so the policy goes by its models alone. Exploration counts as the service
    explores.

    Parameters
    ----------
    ready
        The bundle.
    asked
        The attempts.
    approval
        What its model says of every candidate, shape (n, k).
    risk
        Of every attempt, shape (n,).
    """
    chosen = np.zeros(asked.offered.shape)
    nothing = np.zeros(len(asked))
    place = {name: number for number, name in enumerate(asked.processors)}
    probabilities, risks = approval.tolist(), risk.tolist()
    for row, request in enumerate(requests(asked)):
        assert request.occurred_at is not None
        known = [number for number, p in enumerate(probabilities[row]) if not math.isnan(p)]
        variants = ready.policy.variants(request, "routing")
        said = [probabilities[row][number] for number in known]
        choice = ready.policy.choose(
            request,
            tuple([asked.processors[number] for number in known]),
            [said] * len(variants),
            risks[row],
            kind="routing",
            now=request.occurred_at,
            variants=variants,
        )
        if choice.processor is None:
            nothing[row] = 1.0
            continue
        for entry in choice.ranking:
            chosen[row, place[entry.processor]] += entry.propensity
    return Target(f"bundle:{ready.version}", chosen, nothing=nothing if nothing.any() else None)


def requests(asked: Attempts) -> Iterator[RoutingRequest]:
    """Yield the routing question of each attempt of a history."""
    present = [name for name in _FIELDS if name in asked.frame.columns]
    for fields in asked.frame.select(present).iter_rows(named=True):
        known = {name: value for name, value in fields.items() if value is not None}
        yield RoutingRequest(**{**_ABSENT, **known})
