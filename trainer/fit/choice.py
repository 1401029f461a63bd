"""Champion or challenger: which algorithm a model becomes, judged on a later slice of its own training window.

Why this slice and this rule: docs/adr/0012-risk-champion.md. This module must not know what the test window holds, nor how the
chosen one is calibrated and exported.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple, cast

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.bundle import Candidate, ModelName, Selection
from trainer.fit import estimators
from trainer.fit.dataset import Rows
from trainer.fit.estimators import Algorithm
from trainer.fit.evaluation import Groups, Scored, interval, rounds

Measure = Literal["auc", "average_precision"]

MEASURE: Final[dict[ModelName, Measure]] = {
    "approval": "auc",
    "risk": "average_precision",
    "routing": "auc",
    "retry": "auc",
}
"""What is compared: of something rare, how pure the top of the list is."""

SURE: Final = 0.95
"""A challenger must lead in this share of redrawn slices. With two challengers chance alone then replaces a champion that is as
good about one time in ten at the most."""

LEARNT_SHARE: Final = 0.5
JUDGED_SHARE: Final = 0.3
"""Shares of the training window, its beginning and its end. Between them lies the label delay, or as much of it as there is room
for."""

LEAST_OF_A_CLASS: Final = 50
"""On fewer of the rarer class in either slice a comparison says nothing."""

MOST_LEARNT: Final = 30_000
"""Rows of the commoner class that are learnt from at the most, and none of the rarer is left out: the order of algorithms shows
on fewer rows than the shipped model needs, and it is the rare ones that show it. Simulated history, 74,000 learnt rows or 30,300:
the same choice in 50 and in 14 processor seconds."""

MOST_JUDGED: Final = 100_000
"""Rows that are judged on at the most, drawn from all: thinning one class would change what is measured."""

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]


class Choice(NamedTuple):
    """What was chosen, and the record of why; None where there is no challenger."""

    algorithm: Algorithm
    selection: Selection | None


class Cut(NamedTuple):
    """Rows before `learnt_until` are learnt from, those from `judged_from` on are judged on."""

    learnt_until: datetime
    judged_from: datetime


def choose(
    model: ModelName,
    train: Rows,
    delay: timedelta,
    seed: int,
    challengers: tuple[Algorithm, ...] | None = None,
) -> Choice:
    """Return the algorithm for `model`: its champion, unless a challenger is better by more than chance.

    All are fitted on the beginning of the training window and compared on its end. Redrawn slices (a Poisson bootstrap over
    cards, or payments where there are none: frauds of one card are one case) are the same for all, so what is judged is the
    difference. Of the challengers that lead in `SURE` of them, the one with the highest figure is chosen.

    Parameters
    ----------
    model, train
        Which model, and the rows of its training window.
    delay
        How late labels are: the gap between the two slices, as far as there is room for it.
    seed
        Draws everything that is drawn.
    challengers
        Instead of the model's own.
    """
    champion = estimators.CHAMPIONS[model]
    challengers = estimators.CHALLENGERS[model] if challengers is None else challengers
    if not challengers:
        return Choice(champion, None)
    cut = _cut(train, delay)
    learnt, judged = _slices(train, cut, seed)
    selection = Selection(
        reading="",
        measure=MEASURE[model],
        learnt=len(learnt),
        judged=len(judged),
        positives=int(train.labels[judged].sum()),
        learnt_until=cut.learnt_until,
        judged_from=cut.judged_from,
    )
    said = {name: estimators.describe(name) for name in (champion, *challengers)}
    rarer = min(_rarer(train.labels[learnt]), _rarer(train.labels[judged]))
    if rarer < LEAST_OF_A_CLASS:
        reading = (
            f"{said[champion]} is the champion and was not challenged: of the rarer class a slice of the training window has "
            f"{rarer:,} rows, at least {LEAST_OF_A_CLASS} are needed to compare on"
        )
        return Choice(champion, msgspec.structs.replace(selection, reading=reading))
    answers = {}
    for name in (champion, *challengers):
        fitted = estimators.fit(name, train.features[learnt], train.labels[learnt], train.weights[learnt], seed)
        answers[name] = np.asarray(fitted.predict_proba(train.features[judged])[:, 1], dtype=np.float64)
    groups = train.frame[judged].select(_case().rank("dense"))["case"].to_numpy().astype(np.int64)
    compared = compare(answers, train.labels[judged], groups, MEASURE[model], seed)
    figures = {name: candidate.figure.value for name, candidate in compared.items()}
    leading = [name for name in challengers if (compared[name].sure or 0.0) >= SURE]
    chosen = max(leading, key=lambda name: figures[name]) if leading else champion
    reading = _reading(champion, chosen, challengers, compared, said)
    candidates = tuple(msgspec.structs.replace(each, algorithm=said[name]) for name, each in compared.items())
    return Choice(chosen, msgspec.structs.replace(selection, reading=reading, candidates=candidates))


def compare(
    answers: Mapping[Algorithm, Floats], labels: npt.NDArray[np.bool_], groups: Groups, measure: Measure, seed: int
) -> dict[Algorithm, Candidate]:
    """Return each candidate's figure with its interval and, of all but the first, the lead over the first.

    Parameters
    ----------
    answers
        Each candidate's probabilities, shape (n,); the first is the champion.
    labels
        Truth, shape (n,); both classes must be there.
    groups
        Rows of one group are redrawn together.
    measure
        What is compared.
    seed
        Draws the bootstrap.
    """
    scored = {name: Scored(labels, p) for name, p in answers.items()}
    figures = {name: each.metrics(np.ones(len(labels)))[measure] for name, each in scored.items()}
    drawn: dict[Algorithm, list[float]] = {name: [] for name in scored}
    for weights in rounds(groups, np.random.default_rng(seed)):
        if min(weights[labels].sum(), weights[~labels].sum()) > 0:
            for name, each in scored.items():
                drawn[name].append(each.metrics(weights)[measure])
    champion = next(iter(scored))
    compared = {}
    for name in scored:
        figure = interval(figures[name], drawn[name])
        if name == champion:
            compared[name] = Candidate(algorithm=name, figure=figure)
            continue
        leads = np.array(drawn[name]) - np.array(drawn[champion])
        compared[name] = Candidate(
            algorithm=name,
            figure=figure,
            lead=interval(figures[name] - figures[champion], leads.tolist(), least=-1.0),
            sure=float((leads > 0).mean()) if len(leads) else 0.0,
        )
    return compared


def _cut(train: Rows, delay: timedelta) -> Cut:
    """Return where the two slices of the training window end and begin."""
    started = train.frame["started_at"]
    begin, end = cast(datetime, started.min()), cast(datetime, started.max())
    learnt_until = begin + (end - begin) * LEARNT_SHARE
    return Cut(learnt_until, min(learnt_until + delay, end - (end - begin) * JUDGED_SHARE))


def _slices(train: Rows, cut: Cut, seed: int) -> tuple[Positions, Positions]:
    """Return the positions of the rows to learn from and of those to judge on, not more than are needed."""
    frame = train.frame
    # A try of a payment that was still under way when the other slice began would teach about it.
    early = (frame["started_at"] < cut.learnt_until) & (frame["settled_at"] < cut.judged_from)
    late = frame["started_at"] >= cut.judged_from
    chance = np.random.default_rng(seed)

    def some(rows: Positions, most: int) -> Positions:
        return rows if len(rows) <= most else chance.choice(rows, most, replace=False)

    learnt, judged = np.flatnonzero(early.to_numpy()), np.flatnonzero(late.to_numpy())
    labels = train.labels[learnt]
    common = labels == (labels.sum() * 2 > len(labels))
    thinned = np.concatenate([learnt[~common], some(learnt[common], MOST_LEARNT)])
    return np.sort(thinned), np.sort(some(judged, MOST_JUDGED))


def _case() -> pl.Expr:
    """Return what is one case: the card, or the payment where there is none."""
    return pl.coalesce("card_token", "payment_id").alias("case")


def _rarer(labels: npt.NDArray[np.bool_]) -> int:
    positives = int(labels.sum())
    return min(positives, len(labels) - positives)


def _reading(
    champion: Algorithm,
    chosen: Algorithm,
    challengers: tuple[Algorithm, ...],
    compared: Mapping[Algorithm, Candidate],
    said: Mapping[Algorithm, str],
) -> str:
    figure = compared[champion].figure.value
    if chosen == champion:
        leads = ", ".join(f"{said[name]} ({compared[name].sure:.0%})" for name in challengers)
        return (
            f"{said[champion]} stays champion: none of its challengers leads in {SURE:.0%} of redrawn slices: {leads}"
        )
    winner = compared[chosen]
    return (
        f"{said[chosen]} replaces the champion, {said[champion]}: {winner.figure.value:.3f} to {figure:.3f} on the later slice, "
        f"ahead in {winner.sure:.0%} of redrawn slices ({SURE:.0%} are needed)"
    )
