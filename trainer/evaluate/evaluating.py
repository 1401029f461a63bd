"""From a history or a log, and bundles, to a report, top to bottom.

How anything is judged is in the modules beside this one; this one joins them.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from trainer import history as canonical
from trainer.errors import EvaluateError
from trainer.evaluate import direct, propensities, scores
from trainer.evaluate.attempts import Attempts, Which, attempts
from trainer.evaluate.bandit import read_bandit
from trainer.evaluate.bundle import Ready, open_bundle
from trainer.evaluate.calibration import Calibrated, calibrated
from trainer.evaluate.log import Floats, Log, Target
from trainer.evaluate.off_policy import estimate
from trainer.evaluate.policies import BEST_FIXED, BUNDLE, LOGGED, UNIFORM, simple
from trainer.evaluate.report import Judged, Report, Values
from trainer.evaluate.rewards import Reward, Rewards, Yardstick, approvals, in_currency, margins
from trainer.evaluate.service_policy import asked_of
from trainer.fit.dataset import INPUTS
from trainer.fit.parameters import read_fees, read_policy
from trainer.progress import step

PLAIN: Final = (LOGGED, UNIFORM, BEST_FIXED)
"""What is judged when nothing is named, beside the bundle."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What `evaluate` may be told; a history or logged recommendations it must be."""

    history: Path | None = None
    bandits: tuple[Path, ...] = ()
    bundles: Path = Path("var/bundles")
    bundle: str | None = None
    policies: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    which: Which = "first"
    reward: Reward = "approval"
    fees: Path | None = None
    margin_share: float | None = None
    currency: str | None = None
    rates: Mapping[str, float] = msgspec.field(default_factory=dict)
    clip: float | None = None
    most: int = 50_000
    estimate: bool = False
    seed: int = 0


def evaluate(options: Options) -> Report:
    """Judge bundles and policies.

    Raises
    ------
    TrainerError
        One sentence.
    """
    if options.bandits:
        return Report(
            since=None, until=None, bundles=(), values=tuple(_of_bandit(path, options) for path in options.bandits)
        )
    if options.history is None:
        msg = "expected a history or logged recommendations to judge by"
        raise EvaluateError(msg)
    opened = _opened(options)
    with step("reading the history"):
        history = canonical.load(options.history)
        since, until = _window(history, list(opened.values()), options)
    judged = tuple(_judged(ready, history, since, until, options) for ready in opened.values())
    with step("attempts"):
        asked = attempts(
            history,
            since,
            until,
            which=options.which,
            most=options.most,
            estimate=options.estimate,
            seed=options.seed,
        )
    values = _of_history(asked, history, opened, options)
    return Report(since=since, until=until, bundles=judged, values=(values,))


def _opened(options: Options) -> dict[str, Ready]:
    """Return the bundles that are named, by what they are named."""
    names = [policy.removeprefix(BUNDLE) for policy in options.policies if policy.startswith(BUNDLE)]
    names += [] if options.bundle is None else [options.bundle]
    return {name: open_bundle(name, options.bundles) for name in dict.fromkeys(names)}


def _window(history: pl.LazyFrame, opened: list[Ready], options: Options) -> tuple[datetime, datetime]:
    """Return the stretch to judge by: as told, else what no bundle has learnt from, else all."""
    first, last = history.select(first=pl.col("occurred_at").min(), last=pl.col("occurred_at").max()).collect().row(0)
    held_out = max((ready.manifest.data.test_from for ready in opened), default=first)
    since, until = options.since or held_out, options.until or last + timedelta(microseconds=1)
    if not since < until:
        msg = (
            f"expected the payments judged by to begin before they end, got {since.isoformat()} to {until.isoformat()}; "
            f"the history has {first:%Y-%m-%d} to {last:%Y-%m-%d}"
        )
        raise EvaluateError(msg)
    return since, until


def _judged(ready: Ready, history: pl.LazyFrame, since: datetime, until: datetime, options: Options) -> Judged:
    found: list[Calibrated] = []
    untold: dict[str, str] = {}
    for model in INPUTS:
        with step(f"{ready.version}: {model}"):
            scored = scores.held_out(ready, model, history, since, until, options.most, options.seed)
            if isinstance(scored, str):
                untold[model] = scored
            else:
                found.append(calibrated(model, scored.frame, scored.labels, scored.p, options.seed))
    data = ready.manifest.data
    notes: tuple[str, ...] = ()
    if since < data.train_until and until > data.first:
        notes = (
            f"this bundle learnt from payments until {data.train_until:%Y-%m-%d %H:%M}: it is judged in part by what it "
            "learnt from, and looks better than it is",
        )
    return Judged(version=ready.version, models=tuple(found), untold=untold, notes=notes)


def _of_history(asked: Attempts, history: pl.LazyFrame, opened: Mapping[str, Ready], options: Options) -> Values:
    """Judge policies by the attempts of a history."""
    rewards, asked, unit, notes = _rewards(asked, opened, options)
    log = Log(asked.processors, asked.taken, asked.propensity, rewards.realised, asked.payment, asked.offered)
    with step("a model of the rewards"):
        p = direct.expected(asked.context, asked.taken, asked.approved, asked.offered, asked.fold, options.seed)
    targets = []
    for policy in options.policies or (*PLAIN, *([] if options.bundle is None else [BUNDLE + options.bundle])):
        with step(policy):
            if policy.startswith(BUNDLE):
                ready = opened[policy.removeprefix(BUNDLE)]
                approval = scores.each_processor(ready, asked, history)
                targets.append(asked_of(ready, asked, approval, scores.risk(ready, asked, history)))
            else:
                targets.append(simple(policy, log, asked.fold))
    what = "attempts" if options.which == "all" else "first attempts"
    return _values(
        f"{len(log):,} {what}", unit, (*asked.notes, *notes), log, targets, rewards.expected(p), options, rewards.name
    )


def _rewards(
    asked: Attempts, opened: Mapping[str, Ready], options: Options
) -> tuple[Rewards, Attempts, str, list[str]]:
    """Return what attempts are worth, those that count, the unit, and notes."""
    attempt = "an attempt" if options.which == "all" else "a first attempt"
    if options.reward == "approval":
        return approvals(asked.approved, len(asked.processors)), asked, f"approvals {attempt}", []
    frame, currency, notes = in_currency(asked.frame, options.currency, options.rates)
    asked = asked.only(frame)
    yardstick, note = _yardstick(list(opened.values()), options)
    charged_back = frame["chargeback_at"].is_not_null().to_numpy()
    found = margins(frame, asked.processors, asked.taken, charged_back, yardstick)
    return found, asked, f"margin {attempt}, minor units of {currency}", [*notes, *note]


def _yardstick(opened: list[Ready], options: Options) -> tuple[Yardstick, list[str]]:
    """Return what a margin is measured by: fees as told, else the bundle's; and what is missing."""
    if opened:
        manifest = opened[-1].manifest
        schedules, parameters, merchants = manifest.processors, manifest.policy, manifest.merchants
    else:
        schedules, parameters, merchants = {}, read_policy(None), {}
    if options.fees is not None:
        schedules = read_fees(options.fees)
    notes = [] if schedules else ["no fees are known (--fees): every attempt counts as free"]
    return Yardstick.of(schedules, parameters, merchants, options.margin_share), notes


def _of_bandit(path: Path, options: Options) -> Values:
    """Judge policies by a file of logged recommendations."""
    if options.reward != "approval":
        msg = f"expected the reward approval (a click) for {path.name}: logged recommendations have no fees"
        raise EvaluateError(msg)
    with step(f"reading {path.name}"):
        bandit = read_bandit(path)
    fold = direct.folds(bandit.log.payment, options.seed)
    with step("a model of the rewards"):
        p = direct.expected(bandit.context, bandit.log.taken, bandit.clicked, bandit.log.offered, fold, options.seed)
    named = options.policies or PLAIN
    for policy in named:
        if policy.startswith(BUNDLE):
            msg = f"expected a policy without a bundle for {path.name}: it holds no payments, got {policy!r}"
            raise EvaluateError(msg)
    targets = [simple(policy, bandit.log, fold) for policy in named]
    source = f"{path.name}, {len(bandit.log):,} recommendations of {len(bandit.log.actions)} items"
    return _values(source, "clicks a recommendation", (), bandit.log, targets, p, options, "click")


def _values(
    source: str,
    unit: str,
    notes: tuple[str, ...],
    log: Log,
    targets: list[Target],
    expected: Floats,
    options: Options,
    reward: str,
) -> Values:
    doubts = propensities.doubts(log)
    with step("estimates"):
        estimates = tuple(
            estimate(
                log,
                target,
                reward=reward,
                expected=expected,
                clip=options.clip,
                doubts=doubts,
                seed=options.seed,
            )
            for target in targets
        )
    return Values(source=source, unit=unit, notes=notes, estimates=estimates)
