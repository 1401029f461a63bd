"""``python -m trainer evaluate``: how true a bundle's probabilities are, and what policies would have been worth."""

import argparse
from pathlib import Path

import msgspec

from contracts.currency import EXPONENT
from trainer.errors import EvaluateError
from trainer.evaluate.evaluating import Options, evaluate
from trainer.evaluate.policies import SYNTAX
from trainer.evaluate.sections import html_of
from trainer.fit.command import moment


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--history", type=Path, metavar="DIR", help="folder of the canonical history to judge by")
    source.add_argument(
        "--bandit",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="logged recommendations to judge by (Open Bandit CSV, gzipped or not)",
    )
    parser.add_argument("--bundle", metavar="VERSION", help="whose calibration: a version, a path, or active")
    parser.add_argument(
        "--bundles", type=Path, default=Path("var/bundles"), help="folder of bundles (default: var/bundles)"
    )
    parser.add_argument(
        "--policy",
        action="append",
        default=[],
        metavar="POLICY",
        help=f"judge {SYNTAX}; may be repeated (default: logged, uniform, best-fixed and the bundle's)",
    )
    parser.add_argument("--from", dest="since", type=moment, metavar="TIME", help="judge payments from here on")
    parser.add_argument(
        "--until",
        type=moment,
        metavar="TIME",
        help="and before this (default: all that no bundle learnt from; without a bundle all)",
    )
    parser.add_argument("--attempts", choices=("first", "all"), default="first", help="default: %(default)s")
    parser.add_argument("--estimate-propensities", action="store_true", help="though they were logged")
    parser.add_argument(
        "--clip",
        type=positive,
        metavar="W",
        help="largest weight (default: what takes 1 %% of all weight, at least the root of the rows and 50)",
    )
    parser.add_argument("--reward", choices=("approval", "margin"), default="approval", help="default: %(default)s")
    add_money(parser)
    add_output(parser)


def add_money(parser: argparse.ArgumentParser) -> None:
    """Add what says how a margin is counted."""
    parser.add_argument("--fees", type=Path, help="TOML file with what each processor charges (default: the bundle's)")
    parser.add_argument("--margin-share", type=share, metavar="SHARE", help="of an amount (default: the bundle's)")
    parser.add_argument("--currency", type=currency, help="to report a margin in (default: the commonest)")
    parser.add_argument(
        "--rate",
        action="append",
        default=[],
        type=rate,
        metavar="CUR=VALUE",
        help="what one unit of another currency is worth in it; may be repeated",
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add where a report goes, and how much goes into it."""
    parser.add_argument("--most", type=count, default=50_000, metavar="N", help="rows looked at (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page of its own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Judge and print."""
    report = evaluate(
        Options(
            history=arguments.history,
            bandits=tuple(arguments.bandit or ()),
            bundles=arguments.bundles,
            bundle=arguments.bundle,
            policies=tuple(arguments.policy),
            since=arguments.since,
            until=arguments.until,
            which=arguments.attempts,
            reward=arguments.reward,
            fees=arguments.fees,
            margin_share=arguments.margin_share,
            currency=arguments.currency,
            rates=dict(arguments.rate),
            clip=arguments.clip,
            most=arguments.most,
            estimate=arguments.estimate_propensities,
            seed=arguments.seed,
        )
    )
    for line in report.lines():
        print(line)
    if arguments.html is not None:
        write(arguments.html, html_of(report).encode())
    if arguments.json is not None:
        write(arguments.json, msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    return 0


def write(path: Path, content: bytes) -> None:
    """Write a report.

    Raises
    ------
    EvaluateError
        When that cannot be.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        msg = f"the report cannot be written to {path}: {error.strerror or error}"
        raise EvaluateError(msg) from error


def positive(text: str) -> float:
    """Read a number above 0."""
    return _number(text, 0.0, float("inf"), "a number above 0")


def share(text: str) -> float:
    """Read a share above 0."""
    return _number(text, 0.0, 1.0, "a share above 0 and up to 1")


def count(text: str) -> int:
    """Read a number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        msg = f"expected a whole number of 1 or more, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def currency(text: str) -> str:
    """Read the code of a currency."""
    if text not in EXPONENT:
        msg = f"expected a currency such as EUR, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return text


def rate(text: str) -> tuple[str, float]:
    """Read a currency and what one unit of it is worth."""
    name, _, value = text.partition("=")
    return currency(name), _number(value, 0.0, float("inf"), "a rate such as GBP=1.17")


def _number(text: str, above: float, most: float, expected: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not above < number <= most or number == float("inf"):
        msg = f"expected {expected}, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return number
