"""``make demo``: from nothing to answered decisions on one screen.

Simulates a history, trains on it, publishes a bundle, starts the service on the embedded store, drives live payments
through it over HTTP, and prints what came of it. Everything is simulated; the service, its answers and its latencies are
real.
"""

import argparse
import asyncio
import contextlib
import json
import platform
import shutil
import signal
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import free_port, is_free, running
from contracts.bundle import Evaluation, Manifest
from features.clock import micros
from trainer import history as canonical
from trainer.backfill.command import backfill
from trainer.errors import TrainerError
from trainer.fit.fitting import FitOptions, fit
from trainer.progress import step
from trainer.simulate import batch
from trainer.simulate.live import LiveReport, drive

FOLDER: Final = Path("var/demo")
PORT: Final = 8080
PLAN: Final = batch.Plan(
    payments=200_000, days=90, start=datetime(2026, 6, 1, tzinfo=UTC), seed=7, merchants=200, cards=50_000
)
MAX_ROWS: Final = 100_000
RATE: Final = 400.0
PAYMENTS: Final = 8_000

ASK: Final[dict[str, Any]] = {
    "payment_id": "demo-1",
    "merchant_id": "m-0001",
    "merchant_country": "DE",
    "amount_minor": 4990,
    "currency": "EUR",
    "card_token": "tok_demo",
    "card_bin": "411111",
    "card_network": "visa",
    "card_funding": "credit",
    "issuer_country": "DE",
    "initiator": "customer",
    "processors": ["northpay", "atlas", "meridian"],
}


def main() -> int:
    """Run the demo; return 0, or 2 with one sentence."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--once", action="store_true", help="exit when done instead of serving until Ctrl-C")
    parser.add_argument("--port", type=int, default=PORT, help=f"port of the service (default {PORT}, or a free one)")
    arguments = parser.parse_args()
    # Asked to end, it ends like Ctrl-C: the service it started must not outlive it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _demo(arguments.port, once=arguments.once)
    except TrainerError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ndemo: stopped", file=sys.stderr)
        return 130


def _demo(port: int, *, once: bool) -> int:
    started = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    world = FOLDER / "world"
    shelf = FOLDER / "bundles"
    print(f"Pointsman demo, in {FOLDER}/ (everything below is synthetic, made by the simulator)", file=sys.stderr)
    with step(f"simulating {PLAN.payments:,} payments of {PLAN.days} days"):
        batch.simulate(PLAN, world, workers=2)
    history = canonical.scan(world / "history")
    manifest = fit(
        FitOptions(
            history=world / "history",
            bundles=shelf,
            fees=world / batch.FEES_FILE,
            terms=world / batch.TERMS_FILE,
            max_rows=MAX_ROWS,
        )
    )
    now = PLAN.start + timedelta(days=PLAN.days)
    store = f"memory://{(FOLDER / 'state').resolve()}"
    with step("writing the state of every card, merchant and processor"):
        backfill(history, store, micros(now))
    settings = {
        "POINTSMAN_BUNDLES": str(shelf.resolve()),
        "POINTSMAN_STORE": store,
        "POINTSMAN_JOURNAL": str((FOLDER / "journal").resolve()),
    }
    if not is_free(port):
        other = free_port()
        print(f"  port {port} is taken, using {other}", file=sys.stderr)
        port = other
    with running(settings, port=port, log=FOLDER / "service.log") as (url, _):
        with step(f"driving {PAYMENTS:,} live payments at {RATE:g}/s through {url}"):
            report = asyncio.run(drive(url, world=batch.world_of(PLAN), payments=PAYMENTS, rate=RATE))
        answer = _ask(url)
        _screen(manifest, report, url, answer, time.monotonic() - started)
        if report.errors or report.http_5xx:
            print(f"demo: {report.http_5xx} answers of 5xx, errors {report.errors}", file=sys.stderr)
            return 1
        if not once:
            print(f"\nThe service stays up at {url} (API description: {url}/schema). Ctrl-C ends it.", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
    return 0


def _ask(url: str) -> dict[str, Any]:
    body = json.dumps(ASK).encode()
    request = urllib.request.Request(  # noqa: S310  (loopback)
        f"{url}/api/decisioning/auth", data=body, headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        decision: dict[str, Any] = json.load(answer)
    return decision


def _figure(evaluation: Evaluation | None, metric: str) -> str:
    if evaluation is None:
        return "-"
    figure = evaluation.metrics[metric]
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _screen(manifest: Manifest, report: LiveReport, url: str, answer: dict[str, Any], seconds: float) -> None:
    """Print the one screen."""
    out = [
        "",
        f"POINTSMAN DEMO  {datetime.now(UTC):%Y-%m-%d}  {platform.machine()}, Python {platform.python_version()}, "
        f"{seconds:.0f} s in all. Synthetic data.",
        "",
        f"Models, judged on the last fifth of the history ({manifest.data.attempts:,} attempts), 95 % intervals:",
        f"  {'':<10}{'AUC':<22}{'log loss':<22}{'baseline (cell means)':<22}{'calibration error':<20}",
    ]
    for name, entry in manifest.models.items():
        if entry.untrained_because is not None:
            out.append(f"  {name:<10}prior {entry.prior:.3g}: {entry.untrained_because}")
            continue
        out.append(
            f"  {name:<10}{_figure(entry.evaluation, 'auc'):<22}{_figure(entry.evaluation, 'log_loss'):<22}"
            f"{_figure(entry.baselines.get('cell means'), 'log_loss'):<22}{_figure(entry.evaluation, 'ece'):<20}"
        )
    out += [
        "",
        f"The same {report.payments:,} payments under three policies (honest payers; margin in euro cents a payment):",
    ]
    labels = {
        "without": "without Pointsman (first preference, one naive retry)",
        "pointsman": "with Pointsman",
        "oracle": "oracle (knows every true probability)",
    }
    out.append(f"  {'':<54}{'first try':>10}{'in the end':>12}{'margin':>10}{'attempts':>10}")
    for name, label in labels.items():
        result = report.policies[name]
        out.append(
            f"  {label:<54}{result.honest_first_approval:>10.2%}{result.honest_approval:>12.2%}"
            f"{result.margin_minor:>10.1f}{result.attempts:>10.2f}"
        )
    latency = report.latency_ms
    out += [
        "",
        f"Latency of auth at {report.rate:,.0f} payments/s ({report.requests:,} requests; client and service share the machine;",
        f"from the scheduled moment, journal fsync included): p50 {latency.p50:.2f} ms, p95 {latency.p95:.2f} ms, "
        f"p99 {latency.p99:.2f} ms; {report.degraded} degraded, {report.http_5xx} of 5xx.",
        "",
        "Ask it yourself:",
        f"  curl -s {url}/api/decisioning/auth -H 'content-type: application/json' -d '{json.dumps(ASK)}'",
        "and it answers:",
        *(f"  {line}" for line in json.dumps(_short(answer), indent=1).splitlines()),
    ]
    print("\n".join(out), flush=True)


def _short(answer: Any) -> Any:
    """Return the answer as it came, long fractions rounded for the eye."""
    if isinstance(answer, dict):
        return {name: _short(value) for name, value in answer.items()}
    if isinstance(answer, list):
        return [_short(value) for value in answer]
    return round(answer, 4) if isinstance(answer, float) else answer


if __name__ == "__main__":
    raise SystemExit(main())
