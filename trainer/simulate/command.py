"""``python -m trainer simulate``: a history on disk, or live payments against a URL.

This module must not know how anything is simulated.
"""

import argparse
import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from trainer.simulate import batch, live
from trainer.simulate.errors import SimulateError
from trainer.simulate.scenarios import SCENARIOS
from trainer.simulate.world import START


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``simulate`` to its parser."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, metavar="DIR", help="write history/, truth/ and fees.toml into DIR")
    where.add_argument("--live", metavar="URL", help="drive live payments against the service at URL")
    parser.add_argument("--payments", type=int, metavar="N", help="payments (default 400,000; live: rate x seconds)")
    parser.add_argument("--days", "--world-days", type=int, default=90, help="length of the history (default 90)")
    parser.add_argument("--start", default=f"{START:%Y-%m-%d}", help="first day, UTC (default %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="everything follows from it (default 7)")
    parser.add_argument("--merchants", type=int, default=200, help="default 200")
    parser.add_argument("--cards", type=int, default=50_000, help="default 50,000")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="processes (default 2)")
    parser.add_argument(
        "--scenario",
        choices=SCENARIOS,
        metavar="NAME",
        help=f"one of {', '.join(SCENARIOS)}, at the end of the history or live",
    )
    parser.add_argument("--force", action="store_true", help="replace an earlier simulation in DIR")
    driving = parser.add_argument_group("live mode")
    driving.add_argument("--run", type=int, default=0, help="another number gives other payments (default 0)")
    driving.add_argument("--report", type=Path, metavar="FILE", help="write the report as JSON")
    driving.add_argument("--world", type=Path, metavar="DIR", help="take seed, days, ... from a simulated history")
    driving.add_argument("--rate", type=float, default=1000.0, help="payments a second (default 1,000)")
    driving.add_argument("--seconds", type=float, default=60.0, help="for how long (default 60)")
    driving.add_argument("--connections", type=int, default=64, help="at most so many at once (default 64)")
    driving.add_argument("--per-day", type=float, help="simulated payments a day (default: the history's)")


def run(arguments: argparse.Namespace) -> int:
    """Simulate; print a summary; return 0.

    Raises
    ------
    SimulateError
        When an argument is out of range, the folder is not empty or nobody answers at the URL.
    """
    plan = _plan(arguments)
    if arguments.live is not None:
        return _live(arguments, plan)
    done = batch.simulate(plan, arguments.out, workers=arguments.workers, force=arguments.force)
    sys.stdout.write(
        f"{done.payments:,} payments, {done.attempts:,} attempts, {done.approved / done.attempts:.1%} approved, "
        f"{done.seconds:.1f} s, {done.payments / done.seconds:,.0f} payments/s -> {arguments.out}\n"
    )
    return 0


def _plan(arguments: argparse.Namespace) -> batch.Plan:
    if arguments.world is not None:
        # What plays live plays after the history; what the history had at its end is over.
        return msgspec.structs.replace(batch.read_plan(arguments.world), scenario=None)
    try:
        start = datetime.strptime(arguments.start, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        msg = f"expected --start as YYYY-MM-DD, got {arguments.start}"
        raise SimulateError(msg) from None
    payments = arguments.payments if arguments.payments is not None and arguments.live is None else 400_000
    ranges = {
        "--payments": (payments, 1, batch.MOST_PAYMENTS),
        "--days": (arguments.days, 1, 3_650),
        "--seed": (arguments.seed, 0, 999_999),
        "--merchants": (arguments.merchants, 1, 10_000),
        "--cards": (arguments.cards, 1, 20_000_000),
        "--workers": (arguments.workers, 1, 256),
    }
    for name, (value, low, high) in ranges.items():
        if not low <= value <= high:
            msg = f"expected {name} to be {low:,} to {high:,}, got {value:,}"
            raise SimulateError(msg)
    return batch.Plan(
        payments=payments,
        days=arguments.days,
        start=start,
        seed=arguments.seed,
        merchants=arguments.merchants,
        cards=arguments.cards,
        scenario=arguments.scenario if arguments.live is None else None,
    )


def _live(arguments: argparse.Namespace, plan: batch.Plan) -> int:
    payments = arguments.payments or round(arguments.rate * arguments.seconds)
    report = asyncio.run(
        live.drive(
            arguments.live,
            world=batch.world_of(plan),
            payments=payments,
            rate=arguments.rate,
            per_day=arguments.per_day or plan.payments / plan.days,
            connections=arguments.connections,
            run=arguments.run,
            scenario=arguments.scenario,
        )
    )
    if arguments.report is not None:
        arguments.report.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    sys.stdout.write(_rendered(report))
    return 0


def _rendered(report: live.LiveReport) -> str:
    latency = report.latency_ms
    lines = [
        f"{report.payments:,} payments at {report.rate:,.0f}/s, {report.requests:,} requests in {report.seconds:.1f} s",
        f"auth latency p50 {latency.p50:.1f} ms, p95 {latency.p95:.1f} ms, p99 {latency.p99:.1f} ms",
        f"HTTP 5xx {report.http_5xx}, degraded {report.degraded}, kept back {report.declined_unsent}, "
        f"challenged {report.challenges}",
        *[f"error {kind}: {count:,}" for kind, count in sorted(report.errors.items())],
        f"{'policy':<10}{'approval':>10}{'first':>9}{'honest':>9}{'first':>9}{'margin':>10}{'attempts':>10}{'fraud':>7}",
    ]
    for name, result in report.policies.items():
        lines.append(
            f"{name:<10}{result.approval:>10.2%}{result.first_approval:>9.2%}{result.honest_approval:>9.2%}{result.honest_first_approval:>9.2%}"
            f"{result.margin_minor / 100:>10.3f}{result.attempts:>10.3f}{result.fraud_approved:>7}"
        )
    return "\n".join(lines) + "\n"
