"""``python -m trainer COMMAND``: the batch side of Pointsman.

A command is a module with ``configure(parser)`` and ``run(arguments) -> exit code``; it is imported only when it is asked
for, so that ``--help`` does not wait for polars and scikit-learn.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Final

from trainer.errors import TrainerError

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "simulate": ("trainer.simulate.command", "simulate a payment history, or live payments against a URL"),
    "ingest": ("trainer.ingest.command", "turn a shop's own files into the canonical history"),
    "fit": ("trainer.fit.command", "train, calibrate, export and publish a model bundle"),
    "bundle": ("trainer.publish.command", "list, show, activate and roll back bundles"),
    "backfill": ("trainer.backfill.command", "write the state as of now from history into a store"),
    "consistency": ("trainer.consistency.command", "recompute logged vectors from the journal, and compare"),
    "evaluate": ("trainer.evaluate.command", "judge a bundle's calibration, and policies by what was logged"),
    "whatif": ("trainer.whatif.command", "ask another policy what a journal was asked, and judge it by the outcomes"),
    "features": ("trainer.features.command", "compute the feature catalog over a history, or describe it"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code (0 done, 2 refused with one sentence on stderr)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = arguments[0] if arguments else "--help"
    parser = argparse.ArgumentParser(prog="python -m trainer", description=(__doc__ or "").split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name == chosen:
            importlib.import_module(COMMANDS[name][0]).configure(command)
    parsed = parser.parse_args(arguments or ["--help"])
    try:
        code: int = importlib.import_module(COMMANDS[parsed.command][0]).run(parsed)
    except TrainerError as error:
        print(f"{parsed.command}: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return code


if __name__ == "__main__":
    raise SystemExit(main())
