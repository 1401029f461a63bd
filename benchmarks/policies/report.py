"""The results in words: tables by scenario, intervals over seeds, and the one line at the end.

Intervals are 95 % by bootstrap over seeds; what is compared is compared on the same seeds. This module must not know how anything
was played.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from benchmarks.policies.baselines import Window
from benchmarks.policies.oracle import Oracle
from benchmarks.policies.pointsman import Pointsman
from benchmarks.policies.run import Outcome, Result
from benchmarks.policies.score import GROUPS, Loss
from trainer.simulate.facts import Array
from trainer.simulate.scenarios import SCENARIOS

RESAMPLED: Final = 2_000


class Gap(tuple[float, float, float]):
    """How much of the way from the window to the oracle Pointsman goes, with its interval: value, low, high."""

    __slots__ = ()


def by_policy(outcomes: Sequence[Outcome], figure: Callable[[Result], float]) -> dict[str, Array]:
    """Return a figure of each policy by seed, shape (seeds,)."""
    names = [result.policy for result in outcomes[0].results]
    return {
        name: np.array([figure(outcome.results[place]) for outcome in outcomes]) for place, name in enumerate(names)
    }


def gap_closed(margins: Sequence[dict[str, Array]]) -> Gap:
    """Return (Pointsman - window) / (oracle - window) of the margins of scenarios, each weighing the same.

    Parameters
    ----------
    margins
        By scenario, what `by_policy` gives; every scenario with the same seeds.
    """
    window, oracle, pointsman = (
        np.sum([scenario[name] for scenario in margins], axis=0) for name in (Window.name, Oracle.name, Pointsman.name)
    )
    rng = np.random.default_rng(5)
    drawn = rng.integers(0, len(window), (RESAMPLED, len(window)))
    shares = (pointsman - window)[drawn].mean(axis=1) / (oracle - window)[drawn].mean(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return Gap((float((pointsman - window).mean() / (oracle - window).mean()), float(low), float(high)))


def interval(values: Array) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean over seeds."""
    rng = np.random.default_rng(5)
    means = values[rng.integers(0, len(values), (RESAMPLED, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return one scenario's table; `outcomes` are its seeds."""
    name, payments = outcomes[0].scenario, outcomes[0].payments
    margins = by_policy(outcomes, lambda result: result.margin)
    gap = gap_closed([margins])
    lines = [
        f"{name}: {SCENARIOS[name].what} ({payments:,} payments, {len(outcomes)} seeds)",
        f"  {'':<18}{'approved':>9}{'first':>8}{'margin':>9}{'over the window':>25}{'regret':>9}"
        f"{'retries':>9}{'each':>6}{'unsent':>8}{'3DS':>7}{'broken':>8}",
    ]
    for policy, margin in margins.items():
        of = [result for outcome in outcomes for result in outcome.results if result.policy == policy]
        over = margin - margins[Window.name]
        low, high = interval(over)
        retries, recovered = _mean(of, "retries"), _mean(of, "recovered")
        each = f"{retries / recovered:.1f}" if recovered > 0 else "-"
        lines.append(
            f"  {policy:<18}{_mean(of, 'approval'):>9.2%}{_mean(of, 'first_approval'):>8.2%}{margin.mean():>9.1f}"
            f"{over.mean():>+9.1f} [{low:+6.1f}, {high:+6.1f}]{(margins[Oracle.name] - margin).mean():>9.1f}"
            f"{retries:>9.3f}{each:>6}{_mean(of, 'unsent'):>8.2%}{_mean(of, 'challenged'):>7.2%}"
            f"{sum(len(result.violations) for result in of):>8}"
        )
    lines += [f"  gap closed {gap[0]:.2f} [{gap[1]:.2f}, {gap[2]:.2f}]", *_lost(outcomes), *_measured(outcomes)]
    return "\n".join(lines)


def last_line(scenarios: Sequence[Sequence[Outcome]]) -> str:
    """Return the one line at the end."""
    margins = [by_policy(outcomes, lambda result: result.margin) for outcomes in scenarios]
    closed = {outcomes[0].scenario: gap_closed([each])[0] for outcomes, each in zip(scenarios, margins, strict=True)}
    worst = min(closed, key=lambda name: closed[name])
    return f"gap_closed={gap_closed(margins)[0]:.2f} worst_scenario={worst} violations={len(broken(scenarios))}"


def broken(scenarios: Sequence[Sequence[Outcome]]) -> list[str]:
    """Return one sentence for each attempt of Pointsman's that broke a rule."""
    return [
        sentence
        for outcomes in scenarios
        for outcome in outcomes
        for result in outcome.results
        if result.policy == Pointsman.name
        for sentence in result.violations
    ]


def _mean(results: Sequence[Result], field: str) -> float:
    return float(np.mean([getattr(result, field) for result in results]))


def _lost(outcomes: Sequence[Outcome]) -> list[str]:
    """Say where Pointsman lost against the oracle, and what retries brought either by the cause of the decline before."""
    mine = [result for outcome in outcomes for result in outcome.results if result.policy == Pointsman.name]
    theirs = [result for outcome in outcomes for result in outcome.results if result.policy == Oracle.name]
    losses = [result.lost for result in mine if result.lost is not None]
    parts = ", ".join(f"{part} {np.mean([getattr(each, part) for each in losses]):.1f}" for part in Loss._fields)
    causes = ", ".join(
        f"{group} {np.mean([each.by_cause[place] for each in mine]):.1f} of "
        f"{np.mean([each.by_cause[place] for each in theirs]):.1f}"
        for place, group in enumerate(GROUPS)
    )
    return [f"  pointsman lost against the oracle: {parts}", f"  its retries brought by cause: {causes}"]


def _measured(outcomes: Sequence[Outcome]) -> list[str]:
    lines = []
    for field, said in (
        ("leaves_after_s", "seconds until less than 5 % goes to the dead processor"),
        ("fair_after", "payments until the newcomer has half of the oracle's share"),
    ):
        found = []
        for name in (Window.name, Pointsman.name):
            values = [
                value
                for outcome in outcomes
                for result in outcome.results
                if result.policy == name and (value := getattr(result, field)) is not None
            ]
            if values:
                found.append(f"{name} median {np.median(values):.0f}, worst {max(values):.0f}")
        if found:
            lines.append(f"  {said}: {'; '.join(found)}")
    return lines
