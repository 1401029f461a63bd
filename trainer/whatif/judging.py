"""What the choices of another policy would have been worth, and where they are others than the logged ones.

This module must not know how a policy chooses.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from contracts.base import Record
from features.clock import moment
from service.policy.choice import Choice
from trainer.evaluate import direct
from trainer.evaluate.attempts import CONTEXT
from trainer.evaluate.log import Flags, Floats, Log, Places, Target
from trainer.evaluate.rewards import Reward, Rewards, Yardstick, approvals, in_currency, margins
from trainer.evaluate.segments import DIMENSIONS, segments
from trainer.history import SCHEMA
from trainer.whatif.decisions import Decided
from trainer.whatif.ways import way_of, ways

LEAST_ROWS: Final = 30
"""Decisions below which a segment is not looked at."""


class Segment(Record, frozen=True, kw_only=True):
    """A kind of payment about which the two policies differ.

    `otherwise` of its `rows` decisions would have been others; `change` is the commonest of these, of `of_change` decisions.
    """

    dimension: str
    value: str
    rows: int
    otherwise: int
    change: str
    of_change: int

    @property
    def share(self) -> float:
        """Share of the decisions that would have been others."""
        return self.otherwise / self.rows


class Questions(NamedTuple):
    """n logged decisions with the other policy's choices, as frames and arrays.

    Attributes
    ----------
    frame
        One row per decision: `row`, columns of the history, `label` (approved), `sent`, `challenged`, `abandoned`,
        `charged_back`, and `risk` and `said` of the logged answer.
    log, target
        What was done, with rewards still to be filled in, and what the other policy would have done.
    changes
        What was answered and what would have been, of each decision; None where they are the same.
    """

    frame: pl.DataFrame
    log: Log
    target: Target
    changes: list[str | None]


def questions(name: str, decided: Sequence[Decided], choices: Sequence[Choice | None]) -> Questions:
    """Return decisions beside the other policy's choices; what it could not be asked about is left out."""
    asked = [(each, choice) for each, choice in zip(decided, choices, strict=True) if choice is not None]
    processors = tuple(sorted({entry.processor for each, _ in asked for entry in each.answer.ranking}))
    place = {processor: number for number, processor in enumerate(processors)}
    shape = (len(asked), len(processors))
    chosen, offered = np.zeros(shape), np.zeros(shape, dtype=np.bool_)
    nothing, lost = np.zeros(len(asked)), np.zeros(len(asked))
    for row, (each, choice) in enumerate(asked):
        logged = ways(each.request, each.answer)
        for processor in logged:
            offered[row, place[processor]] = True
        if choice.processor is None:
            nothing[row] = 1.0
            continue
        for processor, (share, way) in ways(each.request, choice).items():
            if processor in logged and logged[processor][1] == way:
                chosen[row, place[processor]] += share
            else:
                lost[row] += share
    log = Log(
        actions=processors,
        taken=np.array([place.get(each.answer.processor or "", 0) for each, _ in asked], dtype=np.int64),
        propensity=np.array([each.propensity for each, _ in asked]),
        reward=np.zeros(len(asked)),
        payment=np.unique([each.request.payment_id for each, _ in asked], return_inverse=True)[1].astype(np.int64),
        offered=offered,
    )
    frame = pl.DataFrame(
        [_row(each) for each, _ in asked], schema=_ROW_SCHEMA, orient="row", infer_schema_length=None
    ).with_row_index("row")
    changes = [_change(each, choice) for each, choice in asked]
    return Questions(frame, log, Target(name, chosen, nothing, lost), changes)


_FIELDS: Final = ("payment_id", *CONTEXT)
_OWN: Final[dict[str, Any]] = {
    "occurred_at": SCHEMA["occurred_at"],
    "processor": pl.String,
    "label": pl.Boolean,
    "sent": pl.Boolean,
    "challenged": pl.Boolean,
    "abandoned": pl.Boolean,
    "charged_back": pl.Boolean,
    "risk": pl.Float64,
    "said": pl.Float64,
}
_ROW_SCHEMA: Final[dict[str, Any]] = {**{name: SCHEMA[name] for name in _FIELDS}, **_OWN}


def _row(decided: Decided) -> tuple[Any, ...]:
    answer, request = decided.answer, decided.request
    challenged = answer.three_ds == "challenge"
    return (
        *(getattr(request, name) for name in _FIELDS),
        moment(decided.at),
        answer.processor,
        decided.status == "approved",
        decided.is_sent,
        challenged and decided.is_sent,
        decided.is_sent and decided.status is None,
        decided.charged_back,
        answer.risk_score,
        answer.approval_probability,
    )


def _change(decided: Decided, choice: Choice) -> str | None:
    """Return in words what would have been otherwise; None when nothing."""
    answer = decided.answer
    if answer.processor is None or choice.processor is None:
        if answer.processor is None and choice.processor is None:
            return None
        return f"{answer.processor or 'declined'} to {choice.processor or 'declined'}"
    before, after = way_of(decided.request, answer), way_of(decided.request, choice)
    if answer.processor == choice.processor and before == after:
        return None
    words = [answer.processor, choice.processor]
    for number, (way, other) in enumerate(((before, after), (after, before))):
        words[number] += "".join(
            f" {value}"
            for value, that in (
                (way.authentication, other.authentication),
                (way.credential or "as asked", other.credential or "as asked"),
                ("reviewed" if way.reviewed else "unreviewed", "reviewed" if other.reviewed else "unreviewed"),
            )
            if value != that
        )
    return " to ".join(words)


class Worth(NamedTuple):
    """Decisions with what they were worth, in which unit, and notes; `rows` are their places among all that were asked about."""

    asked: Questions
    rows: Places
    rewards: Rewards
    unit: str
    notes: tuple[str, ...]

    @property
    def log(self) -> Log:
        """The log with its rewards."""
        log = self.asked.log
        return Log(log.actions, log.taken, log.propensity, self.rewards.realised, log.payment, log.offered)


def worth(
    asked: Questions, reward: Reward, yardstick: Yardstick, currency: str | None, rates: dict[str, float]
) -> Worth:
    """Return what the decisions were worth; a margin of those alone whose currency can be reported in."""
    frame = asked.frame
    if reward == "approval":
        back = int(frame["charged_back"].sum())
        notes = (f"{back:,} approvals were charged back later and count as approvals all the same",) if back else ()
        rewards = approvals(frame["label"].to_numpy().astype(np.bool_), len(asked.log.actions))
        return Worth(asked, np.arange(len(frame)), rewards, "approvals a decision", notes)
    frame, into, left = in_currency(frame, currency, rates)
    rows = frame["row"].to_numpy().astype(np.int64)
    asked = _only(asked, frame)
    taken, frame = asked.log.taken, asked.frame
    found = margins(frame, asked.log.actions, taken, frame["charged_back"].to_numpy().astype(np.bool_), yardstick)
    asks = np.array([yardstick.fees.three_ds(name) for name in asked.log.actions], dtype=np.float64)
    fee = np.where(frame["challenged"].to_numpy(), 1.0, 0.0)[:, None] * asks * frame["rate"].to_numpy()[:, None]
    own = fee[np.arange(len(frame)), taken]
    # Nobody came back from the challenge: nothing was sent, the authentication was charged all the same.
    realised = np.where(frame["abandoned"].to_numpy(), -own, found.realised - own)
    realised = np.where(frame["sent"].to_numpy(), realised, 0.0)
    rewards = Rewards("margin", found.approved - fee, found.failed - fee, realised)
    return Worth(asked, rows, rewards, f"margin a decision, minor units of {into}", tuple(left))


def _only(asked: Questions, frame: pl.DataFrame) -> Questions:
    rows = frame["row"].to_numpy()
    log, target = asked.log, asked.target
    assert target.chosen is not None
    assert target.nothing is not None
    assert target.lost is not None
    return Questions(
        frame.drop("row").with_row_index("row"),
        Log(log.actions, log.taken[rows], log.propensity[rows], log.reward[rows], log.payment[rows], log.offered[rows]),
        Target(target.policy, target.chosen[rows], target.nothing[rows], target.lost[rows]),
        [asked.changes[row] for row in rows],
    )


def expected(asked: Questions, seed: int) -> Floats:
    """Return each candidate's approval probability by a model fitted on the other payments, shape (n, k).

    It learns from what was sent, and may look at what the logged answer said: what the service knew beside the request.
    """
    frame, log = asked.frame, asked.log
    sent = np.flatnonzero(frame["sent"].to_numpy())
    found = np.zeros(log.offered.shape)
    if not len(sent):
        return found
    present = [name for name in CONTEXT if frame[name].null_count() < len(frame)]
    context = frame[sent].select(*present, "risk", "said", "challenged", pl.col("occurred_at").dt.hour().alias("hour"))
    labels: Flags = frame["label"].to_numpy().astype(np.bool_)[sent]
    fold = direct.folds(log.payment, seed)[sent]
    found[sent] = direct.expected(context, log.taken[sent], labels, log.offered[sent], fold, seed)
    return found


def differing(asked: Questions, most: int = 12) -> list[Segment]:
    """Return the segments in which the largest share of decisions would have been others, the largest first."""
    named = segments(asked.frame)
    found = []
    for dimension in DIMENSIONS:
        rows: Counter[str] = Counter()
        changed: dict[str, Counter[str]] = {}
        for value, change in zip(named[dimension], asked.changes, strict=True):
            if value is None:
                continue
            rows[value] += 1
            if change is not None:
                changed.setdefault(value, Counter())[change] += 1
        if len(rows) < 2:
            continue
        for value, changes in changed.items():
            change, count = changes.most_common(1)[0]
            found.append(
                Segment(
                    dimension=dimension,
                    value=value,
                    rows=rows[value],
                    otherwise=changes.total(),
                    change=change,
                    of_change=count,
                )
            )
    kept = [segment for segment in found if segment.rows >= LEAST_ROWS]
    return sorted(kept, key=lambda segment: (-segment.share, -segment.rows, segment.dimension, segment.value))[:most]
