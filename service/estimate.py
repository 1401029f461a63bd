"""What the models of a bundle say of one payment: of every way of sending it, or of every wait before a retry.

A model that fails is answered by the bundle's prior, and named. The same functions answer a question and replay a
decision, so both come to the same numbers.

This module must not know what is concluded from them.
"""

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np

from contracts.inputs import Variant
from contracts.payment import Payment, RetryRequest
from features.assemble import Matrix
from features.catalog import POSITION
from service.errors import ModelFailed
from service.models.bundle import Bundle

Table = tuple[tuple[float, ...], ...]
"""Probabilities: a row for each way or wait, in it one for each candidate."""

MODEL_OF: Final = {"auth": "approval", "routing": "routing", "retry": "retry"}
"""Which model estimates the approval of an answer of a kind."""


_THREE_DS: Final = POSITION["uses_3ds"]
_TOKEN: Final = POSITION["is_network_token"]
_CREDENTIAL: Final = {"network_token": 1.0, "card_number": 0.0}


class Estimates:
    """The models of one bundle, asked about one payment.

    Parameters
    ----------
    bundle
        Whose models.
    silent
        Names of models that are not to be asked: their priors answer. A replay names those that failed then.
    """

    __slots__ = ("_bundle", "_silent", "failed")

    def __init__(self, bundle: Bundle, silent: Collection[str] = ()) -> None:
        self._bundle = bundle
        self._silent = silent
        self.failed: list[ModelFailed] = []
        """What failed, in the order in which it did."""

    def approval(
        self, kind: str, request: Payment, processors: Sequence[str], variants: Sequence[Variant], rows: Matrix
    ) -> Table:
        """Return for each way of sending the approval probability of each candidate; all of it in one run.

        Parameters
        ----------
        rows
            The candidates' rows for the payment as it was asked about, which is the first way.
        """
        if not processors:
            return ((),) * len(variants)
        name = MODEL_OF[kind]
        flat = self._ask(name, in_every_way(rows, variants))
        if flat is None:
            prior = self._bundle.scorer.prior
            network = request.card_network
            return (tuple([prior(name, f"{each}|{network}", each) for each in processors]),) * len(variants)
        return _shaped(flat, len(processors))

    def risk(self, rows: Matrix) -> float:
        """Return the fraud probability of the payment as it was asked about."""
        answers = self._ask("risk", rows[:1])
        return self._bundle.scorer.prior("risk") if answers is None else answers[0]

    def success(
        self, request: RetryRequest, at: int, processors: Sequence[str], waits: Sequence[int], rows: Matrix
    ) -> Table:
        """Return for each wait (seconds) the success probability of a retry through each candidate."""
        flat = self._ask("retry", self._bundle.plan.retry_rows(rows, request, at, processors, waits))
        if flat is None:
            key = f"{request.card_network}|{request.decline.response_code or ''}"
            return ((self._bundle.scorer.prior("retry", key),) * len(processors),) * len(waits)
        return _shaped(flat, len(processors))

    def _ask(self, model: str, rows: Matrix) -> list[float] | None:
        """Return the model's probabilities; None when the bundle has no such model, or when it failed."""
        if model in self._silent or not self._bundle.scorer.trained(model):
            return None
        try:
            return self._bundle.scorer.probability(model, rows)
        except ModelFailed as error:
            self.failed.append(error)
            return None


def in_every_way(rows: Matrix, variants: Sequence[Variant]) -> Matrix:
    """Return the rows of every way of sending, way by way; the first way is that of `rows`.

    Parameters
    ----------
    rows
        Shape (candidates, features).
    variants
        The ways. In each but the first, authentication and credential are what the way says; a credential of None is
        the one in `rows`.

    Returns
    -------
    array
        Shape (ways * candidates, features).
    """
    if len(variants) == 1:
        return rows
    count = len(rows)
    matrix = np.concatenate((rows,) * len(variants))
    for place, (authentication, credential) in enumerate(_ways(variants)):
        mine = matrix[place * count : (place + 1) * count]
        if authentication is not None:
            mine[:, _THREE_DS] = authentication
        if credential is not None:
            mine[:, _TOKEN] = credential
    return matrix


def in_one_way(row: Matrix, variants: Sequence[Variant], place: int) -> Matrix:
    """Return the row of one way of sending, shape (1, features), made of the row as it was asked about."""
    return row if place == 0 else in_every_way(row, (variants[0], variants[place]))[1:]


def _ways(variants: Sequence[Variant]) -> list[tuple[float | None, float | None]]:
    """Return for each way what it writes into the columns of 3DS and of the credential; None leaves a column alone."""
    first = variants[0].authentication
    ways: list[tuple[float | None, float | None]] = [(None, None)]
    for variant in variants[1:]:
        # A payment that does not say whether it uses 3DS goes without it: that is what its rows are of already.
        changed = variant.authentication != first
        authentication = float(variant.authentication == "three_ds") if changed else None
        credential = None if variant.credential is None else _CREDENTIAL[variant.credential]
        ways.append((authentication, credential))
    return ways


def _shaped(flat: list[float], width: int) -> Table:
    return tuple([tuple(flat[start : start + width]) for start in range(0, len(flat), width)])
