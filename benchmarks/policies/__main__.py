"""``python -m benchmarks.policies``: Pointsman against other policies on the simulator's scenarios.

This module must not know what any figure means.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.policies import chart, report
from benchmarks.policies.material import FOLDER, kept
from benchmarks.policies.pool import WorkerLost, play
from benchmarks.policies.run import Outcome
from trainer.errors import TrainerError
from trainer.simulate.scenarios import SCENARIOS

SEEDS: Final = 20
QUICK_SEEDS: Final = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, print, draw; return 0, or 2 with one sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.policies", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("--quick", action="store_true", help="three seeds and shorter stages")
    parser.add_argument("--seeds", type=int, help=f"how many (default {SEEDS}, quick {QUICK_SEEDS})")
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), metavar="NAME")
    parser.add_argument("--out", type=Path, default=FOLDER / "curves", help="where curves go (default %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    given = parser.parse_args(arguments)
    seeds = given.seeds or (QUICK_SEEDS if given.quick else SEEDS)
    names = [name for name in SCENARIOS if name in given.scenario]
    began = time.monotonic()
    try:
        home, seconds = kept()
    except TrainerError as error:
        print(f"policies: {error}", file=sys.stderr)
        return 2
    print(
        f"Simulated payments, {datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, Python {platform.python_version()}; "
        + (f"history and bundle made in {seconds:.0f} s" if seconds else "history and bundle from the cache")
    )
    try:
        outcomes = play(home, names, seeds, given.workers, quick=given.quick)
    except WorkerLost as error:
        print(f"policies: {error}", file=sys.stderr)
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    for each in outcomes:
        print("\n" + report.table(each))
        (given.out / f"{each[0].scenario}.svg").write_text(drawn(each), encoding="utf-8")
    for sentence in report.broken(outcomes):
        print(f"broken: {sentence}", file=sys.stderr)
    print(f"\nregret curves in {given.out}/; {time.monotonic() - began:.0f} s in all")
    print(report.last_line(outcomes))
    return 0


def drawn(outcomes: Sequence[Outcome]) -> str:
    """Return the regret curves of one scenario."""
    first = outcomes[0]
    return chart.curves(
        f"{first.scenario}: margin behind the oracle",
        "payments",
        "euro cents a payment, cumulated",
        {
            result.policy: np.mean([outcome.results[place].regret for outcome in outcomes], axis=0).tolist()
            for place, result in enumerate(first.results)
        },
        first.payments,
    )


if __name__ == "__main__":
    raise SystemExit(main())
