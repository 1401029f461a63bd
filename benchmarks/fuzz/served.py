"""``python -m benchmarks.fuzz.served``: Schemathesis, all its checks, against the OpenAPI document that a service serves.

It sends what the document allows and what it forbids, in JSON and MessagePack, and holds status, headers and body of every
answer to the document: what it allows must be accepted, what it forbids refused, nothing may be a 5xx.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.material import kept_shelf
from benchmarks.processes import running


def attack(url: str, examples: int, seed: int, others: Sequence[str] = ()) -> int:
    """Let Schemathesis loose on a service; return its exit code, which is 0 when it found nothing.

    Parameters
    ----------
    url
        Where the service is.
    examples
        The most cases for one operation and phase.
    seed
        Of what is generated.
    others
        Further arguments of ``st run``.
    """
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--no-color", "run", f"{url}/schema", "--checks", "all"),
        *("--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure"),
        *("--generation-database", "none", "--request-timeout", "30"),
        *others,
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "benchmarks.fuzz.forms"}
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603  (the command is written above)


def attack_own(shelf: Path, examples: int, seed: int, others: Sequence[str] = ()) -> int:
    """Start a service over a shelf of bundles, with everything in memory, and attack it; return as `attack` does."""
    with TemporaryDirectory() as scratch:
        settings = {
            "POINTSMAN_BUNDLES": str(shelf),
            "POINTSMAN_JOURNAL": f"{scratch}/journal",
            "POINTSMAN_JOURNAL_SYNC": "async",
            # Two shared cores: this is about what is answered, not about how fast.
            "POINTSMAN_BUDGET_MS": "5000",
        }
        with running(settings, log=Path(scratch, "log")) as (url, _):
            return attack(url, examples, seed, others)


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz.served", description=__doc__)
    parser.add_argument("--examples", type=int, default=1000, help="the most cases for one operation and phase")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--url", help="a service that runs already; without it one is started")
    parser.add_argument("others", nargs="*", help="further arguments of `st run`, after --")
    chosen = parser.parse_args(arguments)
    if chosen.url is not None:
        return attack(chosen.url, chosen.examples, chosen.seed, chosen.others)
    return attack_own(kept_shelf(), chosen.examples, chosen.seed, chosen.others)


if __name__ == "__main__":
    sys.exit(main())
