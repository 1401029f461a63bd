"""``python -m trainer fit``: train, calibrate, export and publish a bundle."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from trainer.errors import FitError
from trainer.fit.fitting import FitOptions, fit
from trainer.publish.command import show


def moment(text: str) -> datetime:
    """Read a date or an RFC 3339 time, UTC unless it says otherwise."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"expected a date or time such as 2026-02-01, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--history", type=Path, required=True, help="folder of the canonical history")
    parser.add_argument(
        "--bundles", type=Path, default=Path("var/bundles"), help="where to publish (default: var/bundles)"
    )
    parser.add_argument("--fees", type=Path, help="TOML file with what each processor charges")
    parser.add_argument(
        "--terms",
        type=Path,
        help="TOML file with what processors support and what merchants have agreed or want otherwise",
    )
    parser.add_argument(
        "--policy", type=Path, help="TOML file with policy parameters (default: service/policy/defaults.toml)"
    )
    for name, meaning in (
        ("train-from", "first moment to learn from"),
        ("train-until", "moment before which is learnt"),
        ("test-from", "moment from which is judged (default: the last fifth)"),
        ("test-until", "moment before which is judged"),
    ):
        parser.add_argument(f"--{name}", type=moment, help=f"{meaning}; a date or RFC 3339 time, UTC")
    parser.add_argument(
        "--exclude-compromised",
        action="store_true",
        help="judge risk without cards already known as compromised the day before",
    )
    parser.add_argument(
        "--max-rows", type=int, default=400_000, help="rows of each part a model learns from at the most"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-activate", action="store_true", help="publish without making it the active bundle")


def run(arguments: argparse.Namespace) -> int:
    """Fit, then print what ``bundle show`` prints."""
    if arguments.max_rows < 1:
        msg = f"expected --max-rows to be at least 1, got {arguments.max_rows}"
        raise FitError(msg)
    manifest = fit(
        FitOptions(
            history=arguments.history,
            bundles=arguments.bundles,
            fees=arguments.fees,
            terms=arguments.terms,
            policy=arguments.policy,
            train_from=arguments.train_from,
            train_until=arguments.train_until,
            test_from=arguments.test_from,
            test_until=arguments.test_until,
            exclude_compromised=arguments.exclude_compromised,
            max_rows=arguments.max_rows,
            seed=arguments.seed,
            activate=not arguments.no_activate,
        )
    )
    show(arguments.bundles, manifest.version)
    print(f"model card: {arguments.bundles / manifest.version / 'card.html'}")
    return 0
