"""What the models of a bundle say of one payment: of every way of sending it, or of every wait before a retry.

Where a model fails, which is named, and for a processor that none has seen, the bundle's hierarchy of rates answers. The same
functions answer a question and replay a decision, so both come to the same numbers.

This module must not know what is concluded from them.
"""

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np

from contracts.inputs import Variant
from contracts.payment import Payment, RetryRequest
from features.assemble import Matrix
from features.catalog import POSITION
from features.native import shifted_all
from service.errors import ModelFailed
from service.models.bundle import Bundle
from service.models.moves import Moves

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

    __slots__ = ("_bundle", "_silent", "failed", "moves", "offsets")

    def __init__(self, bundle: Bundle, silent: Collection[str] = ()) -> None:
        self._bundle = bundle
        self._silent = silent
        self.failed: list[ModelFailed] = []
        """What failed, in the order in which it did."""
        self.offsets: list[float] = []
        """What was added to the log-odds of each candidate's approval; empty when nothing was."""
        self.moves: Moves | None = None
        """What moved each estimate of `approval` or `success`, in their order; None where the model does not tell."""

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
        name, rates = MODEL_OF[kind], self._bundle.rates
        flat, self.moves = self._ask(name, in_every_way(rows, request, variants))
        if flat is None:
            return (tuple([self._prior(name, request, each) for each in processors]),) * len(variants)
        width = len(processors)
        effects = self._bundle.effects[name]
        if effects:
            self.offsets = effects.offsets(request, processors)
            flat = shifted_all(flat, self.offsets)
        if rates is not None:
            for place, each in enumerate(processors):
                if not rates.knows(each):
                    # A processor that no model has seen: what its payment is expected to come to anywhere.
                    flat[place::width] = [rates.of(request, each).probability] * len(variants)
        return _shaped(flat, width)

    def risk(self, rows: Matrix) -> float:
        """Return the fraud probability of the payment as it was asked about."""
        answers, _ = self._ask("risk", rows[:1])
        return self._bundle.scorer.prior("risk") if answers is None else answers[0]

    def success(
        self,
        request: RetryRequest,
        at: int,
        processors: Sequence[str],
        variants: Sequence[Variant],
        waits: Sequence[int],
        rows: Matrix,
    ) -> Table:
        """Return for each way, and in it for each wait (seconds), the success probability of a retry at each candidate."""
        plan = self._bundle.plan
        ways = in_every_way(rows, request, variants)
        count = len(rows)
        matrix = [
            plan.retry_rows(ways[start : start + count], request, at, processors, waits)
            for start in range(0, len(ways), count)
        ]
        flat, self.moves = self._ask("retry", matrix[0] if len(matrix) == 1 else np.concatenate(matrix))
        if flat is None:
            key = f"{request.card_network}|{request.decline.response_code or ''}"
            prior = self._bundle.scorer.prior("retry", key)
            return ((prior,) * len(processors),) * (len(waits) * len(variants))
        return _shaped(flat, len(processors))

    def _prior(self, model: str, request: Payment, processor: str) -> float:
        rates = self._bundle.rates
        if rates is not None:
            return rates.of(request, processor).probability
        return self._bundle.scorer.prior(model, f"{processor}|{request.card_network}", processor)

    def _ask(self, model: str, rows: Matrix) -> tuple[list[float] | None, Moves | None]:
        """Return the model's probabilities and moves; None when the bundle has no such model, or when it failed."""
        if model in self._silent or not self._bundle.scorer.trained(model):
            return None, None
        try:
            return self._bundle.scorer.score(model, rows)
        except ModelFailed as error:
            self.failed.append(error)
            return None, None


def in_every_way(rows: Matrix, request: Payment, variants: Sequence[Variant]) -> Matrix:
    """Return the rows of every way of sending a payment, way by way.

    Parameters
    ----------
    rows
        Of the payment as it was asked about, shape (n, features).
    variants
        The ways. A credential of None is the one that was asked about; whoever does not say whether 3DS is used goes without.

    Returns
    -------
    array
        Shape (ways * n, features).
    """
    asked = "three_ds" if request.uses_3ds else "none"
    if len(variants) == 1 and variants[0].credential is None and variants[0].authentication == asked:
        return rows
    count = len(rows)
    matrix = np.concatenate((rows,) * len(variants))
    for place, variant in enumerate(variants):
        mine = matrix[place * count : (place + 1) * count]
        if variant.authentication != asked:
            mine[:, _THREE_DS] = float(variant.authentication == "three_ds")
        if variant.credential is not None:
            mine[:, _TOKEN] = _CREDENTIAL[variant.credential]
    return matrix


def _shaped(flat: list[float], width: int) -> Table:
    return tuple([tuple(flat[start : start + width]) for start in range(0, len(flat), width)])
