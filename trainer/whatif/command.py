"""``python -m trainer whatif``: had we run another policy, over the questions of a journal."""

import argparse
from pathlib import Path

import msgspec

from trainer.evaluate.command import add_money, add_output, positive, write
from trainer.fit.command import moment
from trainer.whatif.asking import Options, what_if


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--journal", type=Path, required=True, help="folder of the journal")
    other = parser.add_mutually_exclusive_group(required=True)
    other.add_argument(
        "--policy", metavar="bundle:VERSION", help="the policy of a bundle: a version, a path, or active"
    )
    other.add_argument(
        "--parameters",
        type=Path,
        metavar="FILE",
        help="TOML file with policy parameters, in place of those of whichever bundle answered",
    )
    parser.add_argument(
        "--bundles", type=Path, default=Path("var/bundles"), help="folder of bundles (default: var/bundles)"
    )
    parser.add_argument("--from", dest="since", type=moment, metavar="TIME", help="questions from here on")
    parser.add_argument("--until", type=moment, metavar="TIME", help="and before this")
    parser.add_argument(
        "--clip",
        type=positive,
        metavar="W",
        help="largest weight (default: what takes 1 %% of all weight, at least the root of the rows and 50)",
    )
    add_money(parser)
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask and print."""
    report = what_if(
        Options(
            journal=arguments.journal,
            policy=arguments.policy,
            parameters=arguments.parameters,
            bundles=arguments.bundles,
            since=arguments.since,
            until=arguments.until,
            fees=arguments.fees,
            margin_share=arguments.margin_share,
            currency=arguments.currency,
            rates=dict(arguments.rate),
            clip=arguments.clip,
            most=arguments.most,
            seed=arguments.seed,
        )
    )
    for line in report.lines():
        print(line)
    if arguments.html is not None:
        write(arguments.html, report.html().encode())
    if arguments.json is not None:
        write(arguments.json, msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    return 0
