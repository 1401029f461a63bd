"""``python -m trainer bundle list|show|activate|rollback``."""

import argparse
from pathlib import Path

from contracts.bundle import Evaluation, Metric
from trainer.publish import shelf


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("act", choices=["list", "show", "activate", "rollback"])
    parser.add_argument(
        "version", nargs="?", help="a version; by default the newest (activate) or the active one (show)"
    )
    parser.add_argument(
        "--bundles", type=Path, default=Path("var/bundles"), help="folder of bundles (default: var/bundles)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Do it and print what was done."""
    folder: Path = arguments.bundles
    known = shelf.versions(folder)
    match arguments.act:
        case "list":
            current = shelf.active(folder)
            for version in known:
                manifest = shelf.read(folder, version)
                auc = manifest.models["approval"].evaluation
                print(
                    f"{'*' if version == current else ' '} {version}  {manifest.data.attempts:>10,} attempts to "
                    f"{manifest.data.last:%Y-%m-%d}  approval AUC {_value(auc, 'auc')}"
                )
            if not known:
                print(f"no bundles in {folder}")
        case "show":
            show(folder, arguments.version or shelf.active(folder) or (known[-1] if known else ""))
        case "activate":
            version = arguments.version or (known[-1] if known else "")
            shelf.activate(folder, version)
            print(f"active: {version}")
        case _:
            print(f"active: {shelf.rollback(folder)}")
    return 0


def _value(evaluation: Evaluation | None, name: str) -> str:
    if evaluation is None:
        return "-"
    return _metric(evaluation.metrics[name])


def _metric(metric: Metric) -> str:
    return f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"


def show(folder: Path, version: str) -> None:
    """Print what a bundle is and how its models did beside their baselines."""
    manifest = shelf.verify(folder, version)
    print(
        f"bundle {manifest.version}, made {manifest.created_at:%Y-%m-%d %H:%M} UTC, features {manifest.feature_fingerprint}"
    )
    print(
        f"history {manifest.data.first:%Y-%m-%d} to {manifest.data.last:%Y-%m-%d}: {manifest.data.attempts:,} attempts of "
        f"{manifest.data.payments:,} payments; trained until {manifest.data.train_until:%Y-%m-%d %H:%M}, "
        f"tested from {manifest.data.test_from:%Y-%m-%d %H:%M}"
    )
    for name, entry in manifest.models.items():
        if entry.untrained_because is not None:
            print(f"  {name:<9} prior {entry.prior:.3g}: {entry.untrained_because}")
            continue
        if entry.evaluation is None:
            print(f"  {name:<9} not judged: the test window has no rows of both classes")
            continue
        rows = [("model", entry.evaluation), *entry.baselines.items()]
        for label, evaluation in rows:
            print(
                f"  {name:<9} {label:<10} AUC {_value(evaluation, 'auc')}  AP {_value(evaluation, 'average_precision')}  "
                f"log loss {_value(evaluation, 'log_loss')}  ECE {_value(evaluation, 'ece')}"
            )
        if (worth := entry.policy_value) is not None:
            print(
                f"  {name:<9} {'off policy':<10} approvals {_metric(worth.value)} by the model, {_metric(worth.logged)} as "
                f"routed, difference {_metric(worth.gain)}"
            )
            print(
                f"  {name:<9} {'':<10} {worth.reading} ({worth.matched:,} of {worth.rows:,} first attempts alike, effective "
                f"{worth.effective:,.0f}, weights up to {worth.clip:.0f}: {worth.clipped:,} clipped)"
            )
    for note in manifest.notes:
        print(f"  note: {note}")
