"""The issuers' bad hours: incidents during which an issuer refuses far more than usual, whoever asks.

This module must not know cards or processors.
"""

from typing import Final

import numpy as np

from trainer.simulate.facts import COUNTRIES, Array

ISSUERS_A_COUNTRY: Final = 6
ISSUERS: Final = len(COUNTRIES) * ISSUERS_A_COUNTRY
_INCIDENT_A_DAY: Final = 0.04


def incidents(seed: int, days: int) -> Array:
    """Return the log-odds of refusal that an incident adds, by (hour since the start, issuer), float32.

    An incident lasts 2 to 8 hours; a longer world begins like a shorter one.
    """
    added = np.zeros((days * 24, ISSUERS), dtype=np.float32)
    for day in range(days):
        drawn = np.random.default_rng((seed, 43, day)).random((ISSUERS, 4))
        for issuer in np.flatnonzero(drawn[:, 0] < _INCIDENT_A_DAY):
            begin = day * 24 + int(drawn[issuer, 1] * 24)
            added[begin : begin + 2 + int(drawn[issuer, 2] * 7), issuer] = 1.0 + drawn[issuer, 3]
    return added
