"""``python -m trainer consistency``: recompute the vectors a journal has logged, and say where they differ."""

import argparse
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from features.catalog import FINGERPRINT
from features.clock import micros
from trainer import history as canonical
from trainer.consistency.bundles import encodings
from trainer.consistency.compare import compare, features
from trainer.consistency.frames import before, history_of, questions
from trainer.consistency.journal import Journal
from trainer.consistency.past import ALL, Past, past_of
from trainer.consistency.recompute import Table, of_entities, of_payments
from trainer.consistency.report import Report
from trainer.errors import TrainerError
from trainer.progress import step

MOST: Final = 20_000


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--journal", type=Path, required=True, help="folder of the journal")
    parser.add_argument(
        "--history", type=Path, metavar="DIR", help="what went before the journal: the history that was backfilled"
    )
    parser.add_argument(
        "--until",
        type=datetime.fromisoformat,
        metavar="TIME",
        help="take the history up to here, UTC unless it says otherwise: the backfill's --now (default: the journal's begin)",
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        default=Path("var/bundles"),
        help="a bundle or a folder of bundles (default: var/bundles)",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.001,
        metavar="SHARE",
        help="exit with 1 when more of a feature is wrong (default %(default)s)",
    )
    parser.add_argument(
        "--most", type=int, default=MOST, metavar="N", help="compare about so many decisions (default %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON too")


def run(arguments: argparse.Namespace) -> int:
    """Compare and print; return 1 when a feature passes the threshold.

    Raises
    ------
    TrainerError
        When there is nothing that could be compared, or a file cannot be read or written.
    """
    report = consistency(
        arguments.journal,
        history=arguments.history,
        until=arguments.until,
        bundle=arguments.bundle,
        threshold=arguments.threshold,
        most=arguments.most,
    )
    for line in report.lines():
        print(line)
    if arguments.json is not None:
        try:
            arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
        except OSError as error:
            msg = f"the report cannot be written to {arguments.json}: {error.strerror or error}"
            raise TrainerError(msg) from error
    return 1 if report.failing else 0


def consistency(
    journal: Path,
    *,
    history: Path | None = None,
    until: datetime | None = None,
    bundle: Path | None = None,
    threshold: float = 0.001,
    most: int = MOST,
) -> Report:
    """Recompute the vectors a journal has logged; the arguments are those of the command.

    Raises
    ------
    TrainerError
        When there is nothing that could be compared.
    """
    opened = Journal(journal)
    with step("read the journal"):
        share = ALL if opened.decisions <= most else max(1, ALL * most // opened.decisions)
        past = past_of(opened.events(), share)
    if not past.asked:
        msg = f"nothing in {journal} can be compared: {_why(past, opened)}"
        raise TrainerError(msg)
    versions = Counter(one.bundle_version for one in past.asked)
    learnt = {} if bundle is None else encodings(bundle, versions)
    asked = questions(past.asked)
    table = Table(len(asked))
    with step("recompute"):
        known = history_of(past.events)
        if history is not None:
            known = pl.concat([before(canonical.load(history), _until(until, past)), known])
        of_payments(asked, [one.bundle_version for one in past.asked], learnt, table)
        of_entities(asked, known, table)
    with step("compare"):
        found = features(compare(past.asked, asked, known, table), past.asked, asked)
    return Report(
        fingerprint=FINGERPRINT,
        decisions=opened.decisions,
        compared=len(past.asked),
        asked_again=sum(one.own is not None for one in past.asked),
        other_fingerprints=past.other_fingerprints,
        skipped=past.skipped,
        unreadable=opened.unreadable,
        unmatched_outcomes=past.unmatched,
        bundles_without_encodings={name: count for name, count in versions.items() if name not in learnt},
        threshold=threshold,
        features=found,
    )


def _until(given: datetime | None, past: Past) -> int:
    if given is not None:
        return micros(given if given.tzinfo else given.replace(tzinfo=UTC))
    assert past.first is not None
    return past.first


def _why(past: Past, journal: Journal) -> str:
    reasons = [f"{count:,} {reason}" for reason, count in past.skipped.items()]
    reasons += [
        f"{count:,} logged under the catalog {fingerprint}, this is {FINGERPRINT}"
        for fingerprint, count in past.other_fingerprints.items()
    ]
    if journal.unreadable:
        reasons.append(f"{journal.unreadable:,} that cannot be read")
    return f"of {journal.decisions:,} decisions, " + ", ".join(reasons) if reasons else "it holds no decisions"
