"""From a journal and another policy to a report, top to bottom."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from features.clock import moment
from trainer.consistency.journal import Journal
from trainer.errors import EvaluateError
from trainer.evaluate import propensities
from trainer.evaluate.log import Floats, Target
from trainer.evaluate.off_policy import estimate
from trainer.evaluate.policies import BUNDLE, LOGGED
from trainer.evaluate.report import Values
from trainer.evaluate.rewards import Reward, Yardstick
from trainer.fit.parameters import read_fees, read_policy
from trainer.progress import step
from trainer.whatif.alternative import Alternative
from trainer.whatif.decisions import Told, told_by
from trainer.whatif.judging import Questions, differing, expected, questions, worth
from trainer.whatif.report import Change, Retries, WhatIf

MOST_CHANGES: Final = 8


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What `what_if` may be told; the journal, and a policy or parameters, it must be."""

    journal: Path
    policy: str | None = None
    parameters: Path | None = None
    bundles: Path = Path("var/bundles")
    since: datetime | None = None
    until: datetime | None = None
    fees: Path | None = None
    margin_share: float | None = None
    currency: str | None = None
    rates: Mapping[str, float] = msgspec.field(default_factory=dict)
    clip: float | None = None
    most: int = 50_000
    seed: int = 0


def what_if(options: Options) -> WhatIf:
    """Ask another policy what a journal was asked.

    Raises
    ------
    TrainerError
        One sentence.
    """
    alternative = _alternative(options)
    journal = Journal(options.journal)
    with step("reading the journal"):
        told = told_by(journal, options.since, options.until, options.most)
    if not told.decided:
        why = ", ".join(f"{count:,} {reason}" for reason, count in told.counts.items() if count)
        msg = f"no decision in {options.journal} can be judged by: {why or 'it holds none'}"
        raise EvaluateError(msg)
    with step(alternative.name):
        choices = alternative.choices(told.decided)
        retries = _retries(told, alternative)
    asked = questions(alternative.name, told.decided, choices)
    with step("a model of the outcomes"):
        p = expected(asked, options.seed)
    yardstick = _yardstick(alternative, told, options)
    values = tuple(_values(asked, p, reward, yardstick, options) for reward in _REWARDS)
    changes = Counter(change for change in asked.changes if change is not None)
    moments = [each.at for each in told.decided]
    return WhatIf(
        policy=alternative.name,
        since=moment(min(moments)),
        until=moment(max(moments)),
        decisions=len(asked.changes),
        otherwise=changes.total(),
        changes=tuple(Change(words=words, count=count) for words, count in changes.most_common(MOST_CHANGES)),
        segments=tuple(differing(asked)),
        values=values,
        retries=retries,
        notes=_notes(journal, told, alternative),
    )


_REWARDS: Final[tuple[Reward, ...]] = ("approval", "margin")


def _alternative(options: Options) -> Alternative:
    if options.parameters is not None:
        return Alternative.parameters(read_policy(options.parameters), options.bundles)
    if options.policy is None or not options.policy.startswith(BUNDLE):
        msg = f"expected a policy as {BUNDLE}VERSION, got {options.policy!r}"
        raise EvaluateError(msg)
    return Alternative.bundle(options.policy.removeprefix(BUNDLE), options.bundles)


def _retries(told: Told, alternative: Alternative) -> Retries:
    again = [(event, alternative.retry(event)) for event in told.retries]
    otherwise = sum(choice is not None and _planned(event.answer) != _planned(choice) for event, choice in again)
    return Retries(count=len(again), told=sum(choice is not None for _, choice in again), otherwise=otherwise)


def _planned(answer: object) -> tuple[object, ...]:
    """Return what a gateway does of a retry's answer."""
    names = ("should_retry", "verdict", "wait_seconds", "processor", "authentication", "credential")
    return tuple(getattr(answer, name) for name in names)


def _yardstick(alternative: Alternative, told: Told, options: Options) -> Yardstick:
    """Return what a margin is measured by, for both policies: what the other one goes by, or as told."""
    ready = next(ready for each in told.decided if (ready := alternative.of(each.answer.bundle_version)) is not None)
    manifest = ready.manifest
    schedules = manifest.processors if options.fees is None else read_fees(options.fees)
    return Yardstick.of(schedules, manifest.policy, manifest.merchants, options.margin_share)


def _values(asked: Questions, p: Floats, reward: Reward, yardstick: Yardstick, options: Options) -> Values:
    """Return what was logged and what the other policy would have been worth."""
    found = worth(asked, reward, yardstick, options.currency, dict(options.rates))
    log, target = found.log, found.asked.target
    model = found.rewards.expected(p[found.rows])
    doubts = propensities.doubts(log)
    with step(found.unit):
        estimates = tuple(
            estimate(log, each, reward=reward, expected=model, clip=options.clip, doubts=doubts, seed=options.seed)
            for each in (Target(LOGGED, None), target)
        )
    return Values(source=f"{len(log):,} decisions", unit=found.unit, notes=found.notes, estimates=estimates)


def _notes(journal: Journal, told: Told, alternative: Alternative) -> tuple[str, ...]:
    notes = [f"{count:,} decisions {reason}" for reason, count in (told.counts + alternative.counts).items() if count]
    if told.share < 1:
        notes.append(f"a sample: {told.share:.1%} of the payments, chosen by their ids")
    if journal.unreadable:
        notes.append(f"{journal.unreadable:,} events of the journal cannot be read")
    others = {each.answer.bundle_version for each in told.decided}
    if any((ready := alternative.of(version)) is not None and ready.version != version for version in others):
        notes.append(
            "how processors were doing is what was concluded then, by what the logged bundle had expected of them"
        )
    return tuple(notes)
