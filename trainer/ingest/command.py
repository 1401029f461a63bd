"""``python -m trainer ingest``: the arguments of ingest and the summary it prints.

This module must not know how anything is ingested.
"""

import argparse
from pathlib import Path

from trainer.ingest import folder
from trainer.ingest.ingestion import IngestReport, ingest


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="CSV, Parquet, Delta, JSON lines or xlsx")
    parser.add_argument("--mapping", type=Path, required=True, help="the mapping file (TOML)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write")
    parser.add_argument("--force", action="store_true", help="replace what an earlier ingest wrote to DIR")


def run(arguments: argparse.Namespace) -> int:
    """Ingest, print the summary, return 0."""
    report = ingest(arguments.mapping, arguments.files, arguments.out, force=arguments.force)
    print(summary(report, arguments.out))
    return 0


def summary(report: IngestReport, out: Path) -> str:
    """Return what was done, a line for each fact."""
    statuses = ", ".join(f"{name} {count:,}" for name, count in report.statuses.items())
    lines = [
        f"rows read         {report.rows_read:>12,}",
        *(f"  {source.path}  {source.rows_read:,}" for source in report.sources if len(report.sources) > 1),
        f"rows written      {report.rows_written:>12,}   in {report.payments:,} payments: {statuses}",
        f"rows quarantined  {report.rows_quarantined:>12,}",
        *(
            f"  {reason:<32}{count.rows:>10,}   first: {count.first_source} row {count.first_row}"
            for reason, count in report.reasons.items()
        ),
        f"chargebacks       {report.chargebacks:>12,}",
        f"period            {report.first:%Y-%m-%d %H:%M:%S} to {report.last:%Y-%m-%d %H:%M:%S} UTC",
        f"columns absent    {', '.join(report.columns_absent) or 'none'}",
        f"history           {out / folder.HISTORY}",
    ]
    if report.rows_quarantined:
        lines.append(f"quarantine        {out / folder.QUARANTINE}")
    return "\n".join(lines)
