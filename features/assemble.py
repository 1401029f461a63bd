"""One payment's features, online: a plan compiled once from the catalog and a bundle's encodings.

The catalog is turned into the source of three functions (payment, candidate, retry; see `features.source`) that run straight
through: no loop over specs, no lookup of an operation by name, each blob unpacked once. ``features.offline`` computes the
same values over a history; ``tests/parity`` holds the two together, bit for bit.

This module must not know where the state comes from.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from contracts.payment import Payment
from features.catalog import BY_SCOPE, CANDIDATE, PAYMENT, RETRY
from features.encoding import Encodings
from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS
from features.layout import LAYOUTS
from features.source import Rows, compiled
from features.state import Trouble, trouble

Matrix = npt.NDArray[np.float32]
Blobs = Sequence[bytes | None]

WIDTH: Final = len(PAYMENT) + len(CANDIDATE)
"""Length of an auth or routing row."""

RETRY_WIDTH: Final = WIDTH + len(RETRY)
"""Length of a retry row: the whole catalog."""

_NO_PAYMENT_STATE: Final[Blobs] = (None,) * len(PAYMENT_KINDS)
_NO_CANDIDATE_STATE: Final[Blobs] = (None,) * len(CANDIDATE_KINDS)
_NOBODY: Final = (None,)
_NOW: Final = (0,)

Unreadable = Callable[[str, Trouble], None]
"""Told the kind of entity and the trouble of each state that could not be read."""


def nobody(kind: str, trouble: Trouble) -> None:
    """Count nothing."""


class Plan:
    """The compiled catalog. Building one takes some milliseconds and is done when a bundle is loaded.

    Parameters
    ----------
    encodings
        One for every `prior` feature of the catalog, by feature name.
    unreadable
        Told of each state that is of another version or corrupt; such an entity counts as never seen.

    Raises
    ------
    ValueError
        When an encoding is missing.
    """

    def __init__(self, encodings: Encodings, unreadable: Unreadable = nobody) -> None:
        missing = [
            spec.name for specs in BY_SCOPE.values() for spec in specs if spec.target and spec.name not in encodings
        ]
        if missing:
            msg = f"expected an encoding for every prior feature, {', '.join(missing)} missing"
            raise ValueError(msg)

        def bad(kind: str, blob: bytes) -> None:
            unreadable(kind, trouble(LAYOUTS[kind], blob) or "corrupt")

        self._payment: Rows = compiled("payment", PAYMENT, PAYMENT_KINDS, encodings, bad)
        self._candidate: Rows = compiled("candidate", CANDIDATE, CANDIDATE_KINDS, encodings, bad)
        self._retry: Rows = compiled("retry", RETRY, (), encodings, bad)

    def rows(
        self, payment: Payment, at: int, states: Blobs, processors: Sequence[str], candidates: Sequence[Blobs]
    ) -> Matrix:
        """Return one row per candidate processor, shape (len(processors) or 1, WIDTH), float32.

        Parameters
        ----------
        payment
            The request.
        at
            The moment of the decision, microseconds.
        states
            The packed states of the payment's entities, in the order of `PAYMENT_KINDS`; empty when none are known.
        processors
            The candidates. Without any, the one row has the candidate features at their defaults for a processor
            never seen.
        candidates
            For each candidate the packed states of `CANDIDATE_KINDS`; empty when none are known.
        """
        (head,) = self._payment(payment, at, (states or _NO_PAYMENT_STATE,), _NOBODY, _NOW)
        names = processors or ("",)
        known = candidates or (_NO_CANDIDATE_STATE,) * len(names)
        tails = self._candidate(payment, at, known, names, _NOW * len(names))
        # A bytearray, so that whoever gets the rows may write to them.
        packed = bytearray().join([head + tail for tail in tails])
        return np.frombuffer(packed, dtype=np.float32).reshape(len(names), WIDTH)

    def retry_rows(
        self, base: Matrix, payment: Payment, at: int, processors: Sequence[str], waits: Sequence[int]
    ) -> Matrix:
        """Return one row per wait and candidate, wait by wait, shape (len(waits) * len(base), RETRY_WIDTH), float32.

        Parameters
        ----------
        base
            The rows of the candidates at the moment of the decision.
        payment
            The retry request.
        at
            The moment of the decision, microseconds.
        processors
            The candidates, in the order of `base`.
        waits
            Planned waits in seconds.
        """
        matrix = np.empty((len(waits), len(base), RETRY_WIDTH), dtype=np.float32)
        matrix[:, :, :WIDTH] = base
        names = processors or ("",)
        tails = [self._retry(payment, at, ((),) * len(names), names, (wait,) * len(names)) for wait in waits]
        matrix[:, :, WIDTH:] = np.frombuffer(b"".join([b"".join(row) for row in tails]), dtype=np.float32).reshape(
            len(waits), len(names), len(RETRY)
        )
        return matrix.reshape(-1, RETRY_WIDTH)
