"""``python -m benchmarks.detection``: how soon trouble is noticed, how often falsely, and how soon it is known to be over.

Time is simulated, so that nothing here depends on the machine; what concludes is the service's own code. See docs/health.md.
"""

import argparse
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import product
from statistics import median
from typing import Final

from benchmarks import drift, gateway
from benchmarks.incidents import Alarms, Course, Outage, Rate, constant, course, daily, false_alarms, threshold_alarms
from contracts.outcome import Status
from service.policy.blame import judge
from service.policy.rules import Rules

SHARES: Final = (1.0, 0.3, 0.05)
USUAL: Final = (0.002, 0.02, 0.08)
WITHIN: Final = 30.0
"""Seconds in which an outage is to be noticed."""
LANES: Final = 200


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    parser.add_argument("--repeats", type=int, default=40, help="simulations of each outage (40)")
    parser.add_argument("--days", type=float, default=20.0, help="processor days for each rate of false alarms (20)")
    parser.add_argument("--seed", type=int, default=1, help="of all simulations (1)")
    parser.add_argument("tables", nargs="*", help=f"of {', '.join(TABLES)}; all by default")
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.tables if name not in TABLES]
    if unknown:
        parser.error(f"expected tables of {', '.join(TABLES)}, got {', '.join(unknown)}")
    for name in arguments.tables or TABLES:
        print(f"\n## {name}", flush=True)
        TABLES[name](arguments)
    return 0


def courses(outage: Outage, arguments: argparse.Namespace) -> list[Course]:
    """Simulate an outage as often as was asked for."""
    return [course(outage, arguments.seed * 10_000 + number) for number in range(arguments.repeats)]


def quantiles(values: Sequence[float | None]) -> str:
    """Return median and 95 % quantile of what came, and how many of all did not come."""
    came = sorted([value for value in values if value is not None])
    if not came:
        return "never"
    missed = len(values) - len(came)
    text = f"{median(came):.0f} / {came[min(int(0.95 * len(came)), len(came) - 1)]:.0f}"
    return f"{text} ({missed} never)" if missed else text


def within(values: Sequence[float | None]) -> str:
    """Return how many came in time."""
    return f"{sum(value is not None and value <= WITHIN for value in values) / len(values):.0%}"


def outages(arguments: argparse.Namespace) -> None:
    """(a) Outages at 20 payments a second in all: seconds from the first lost payment."""
    print("20/s in all; seconds to the first sign and to stopped (down or half open): median / 95 % quantile")
    print(f"{'share':>6} {'faults':>7} {'usual':>6}  {'first sign':<18} {'within 30 s':<12} {'stopped':<22} lost")
    for share, faults, usual in product(SHARES, (1.0, 0.5, 0.3), USUAL):
        ran = courses(Outage(share=share, faults=faults, usual=usual), arguments)
        seen = [one.noticed for one in ran]
        stopped = quantiles([one.stopped for one in ran])
        lost = median([one.lost for one in ran])
        print(
            f"{share:>6.0%} {faults:>7.0%} {usual:>6.1%}  {quantiles(seen):<18} {within(seen):<12} {stopped:<22} {lost:.0f}"
        )
    print("\nthe least share at which an outage is noticed in time (all fails, 20/s in all)")
    for share, usual in product((0.05, 0.03, 0.02, 0.01, 0.005), USUAL):
        seen = [one.noticed for one in courses(Outage(share=share, usual=usual), arguments)]
        print(f"{share:>6.1%} usual {usual:>5.1%}  {quantiles(seen):<18} {within(seen)}")
    print("\ntimeouts: each is known only after 20 s")
    for share in SHARES:
        seen = [one.noticed for one in courses(Outage(share=share, wait=20.0), arguments)]
        print(f"{share:>6.0%}  {quantiles(seen):<18} {within(seen)}")
    print("\nslow: it answers so many times slower, and loses nothing; seconds until a slowdown is reported")
    for share, slower in product(SHARES, (5.0, 3.0, 2.0)):
        seen = [one.slowed for one in courses(Outage(share=share, faults=0.02, slower=slower), arguments)]
        print(f"{share:>6.0%} x{slower:<4g} {quantiles(seen):<18} {within(seen)}")
    print("\nlittle traffic: all fails for an hour; minutes to the first sign")
    for rate, usual in product((1.0 / 6.0, 1.0 / 60.0), USUAL):
        ran = courses(Outage(rate=rate, usual=usual, seconds=3600.0, after=0.0), arguments)
        seen = [None if one.noticed is None else one.noticed / 60.0 for one in ran]
        print(f"{rate * 60:>4.0f} a minute, usual {usual:>5.1%}  {quantiles(seen)}")


def alarms(arguments: argparse.Namespace) -> None:
    """(b) False alarms of processors that are well."""
    print("one level of one processor; every sign counts, however small the excess")
    print(f"{'results':>12} {'usual':>6} {'days':>7}  {'alarms':>6} {'stops':>6}  a day")

    def show(what: str, rate: float, usual: float, changing: Rate = constant, runs: float = 0.0) -> None:
        seconds = arguments.days * 86_400.0 / LANES
        if changing is daily or rate < 1.0:
            seconds = max(seconds, 86_400.0)
        found: Alarms = false_alarms(rate, usual, LANES, seconds, arguments.seed, changing=changing, runs=runs)
        a_day = found.alarms / found.days
        print(
            f"{what:>12} {usual:>6.1%} {found.days:>7.0f}  {found.alarms:>6} {found.stops:>6}  {a_day:.3f}", flush=True
        )

    for what, rate in (("20/s", 20.0), ("6/s", 6.0), ("1/s", 1.0), ("6 a minute", 0.1), ("1 a minute", 1.0 / 60.0)):
        for usual in USUAL:
            show(what, rate, usual)
    print("faults by half more in some hours and by half fewer in others")
    for usual in USUAL:
        show("1/s", 1.0, usual, daily)
    print("after a fault, three in ten chances of another at once")
    for usual in USUAL:
        show("1/s", 1.0, usual, constant, 0.3)
    print("for comparison: a threshold on the share of faults in each minute, alarms a day")
    for share in (0.05, 0.1, 0.2):
        told = [
            f"{threshold_alarms(rate, usual, share, arguments.seed):.1f}" for rate, usual in product((20.0, 1.0), USUAL)
        ]
        print(f"above {share:.0%}: at 20/s {', '.join(told[:3])}; at 1/s {', '.join(told[3:])}")


def bursts(_: argparse.Namespace) -> None:
    """(c) A gateway's counts of three days."""
    if not (gateway.FOLDER / gateway.TRANSACTIONS).exists():
        print(f"skipped: the data is not part of the project and is not in {gateway.FOLDER.name}/ beside the checkout")
        return
    minutes = gateway.read()
    found = gateway.bursts(minutes)
    for burst in found:
        counted = minutes[burst.first : burst.last + 1]
        total = sum([sum(minute) for minute in counted])
        part = sum([getattr(minute, burst.kind) for minute in counted]) / total
        print(
            f"{burst.kind:<7} minute {burst.first:>4} to {burst.last:>4}: {part:.1%} of {total / len(counted):.0f} a minute"
        )
    print("noticed: first / median / last, seconds from the beginning of the first minute")
    signs = gateway.service_signs(minutes, 1)
    for kind, name in (("faults", "excess of faults"), ("denied", "shift of approval")):
        print(f"{kind}, {name + ':':<24} {gateway.noticed(minutes, kind, signs[kind]).line}")
        for share in (0.01, 0.02, 0.05, 0.1, 0.15, 0.2):
            by_threshold = gateway.threshold_signs(minutes, share)[kind]
            print(f"{kind}, above {share:.0%} of a minute:    {gateway.noticed(minutes, kind, by_threshold).line}")
    print(f"denials seen as the processor's trouble: {sum(_in_denials(found, sign) for sign in signs['faults'])}")


def recovery(arguments: argparse.Namespace) -> None:
    """(d) How soon a processor gets its part again."""
    print(
        "seconds from the end of an outage to up, with an excess below 15 %: median / 95 % quantile; all fails, then 2 % usual"
    )
    print(f"{'rate':>6} {'share':>6} {'lasts':>7} {'probes':>7}  {'up again':<20} stopped again in the half hour after")
    for rate, share, seconds, probe in (
        *product((20.0,), SHARES, (30.0, 120.0, 1200.0), (0.02,)),
        *product((20.0,), SHARES, (120.0,), (0.05,)),
        *product((1.0,), (1.0,), (120.0, 1200.0), (0.02, 0.05)),
        *product((1.0 / 60.0,), (1.0,), (3600.0,), (0.02, 0.05)),
    ):
        after = 1800.0 if rate >= 1.0 else 14_400.0
        outage = Outage(rate=rate, share=share, seconds=seconds, probe=probe, after=after, follow=True)
        ran = courses(outage, arguments)
        again = sum([one.relapses for one in ran]) / len(ran)
        told = quantiles([one.up for one in ran])
        print(f"{rate:>6.2g} {share:>6.0%} {seconds:>5.0f} s {probe:>7.0%}  {told:<20} {again:.2f} times")
    print("no other processor: it keeps all of its traffic, down or not")
    for rate in (20.0, 1.0):
        ran = courses(Outage(rate=rate, seconds=600.0, alone=True), arguments)
        print(f"{rate:>6.2g} {1.0:>6.0%} {600:>5.0f} s {'-':>7}  {quantiles([one.up for one in ran])}")


def blames(_: argparse.Namespace) -> None:
    """(e) Whose fault results are, by the rules that hold today."""
    book = Rules.load().at(datetime.now(UTC).date())
    cases: tuple[tuple[str, Status, str | None], ...] = (
        ("no funds", "declined", "51"),
        ("suspected fraud", "declined", "59"),
        ("issuer unavailable", "declined", "91"),
        ("issuer unavailable", "error", "91"),
        ("invalid merchant", "declined", "03"),
        ("system malfunction", "declined", "96"),
        ("no cause stated", "declined", None),
        ("error", "error", None),
        ("timeout", "timeout", None),
    )
    for name, status, code in cases:
        whose = judge(
            book,
            "visa",
            processor="a",
            status=status,
            response_code=code,
            advice_code=None,
            country="DE",
            initiator="customer",
        )
        print(f"{name:<20} {status:<9} {code or '-':<3} {whose}")


def adaptation(arguments: argparse.Namespace) -> None:
    """(f) What the correction by residuals does to the squared error of the probabilities."""
    print(
        "mean squared error of p by the model and corrected; the model is off by 0.2 log-odds for each attempt anyway"
    )
    print(f"{'drift':<34} {'results':>12}  {'model':>8} {'corrected':>9} {'ratio':>6}")
    often, seldom = ("1/s", 1.0, 4.0), ("6 a minute", 0.1, 20.0)
    for what, how, paces in (
        ("none", drift.nothing, (often, seldom)),
        ("lasting: processor, network, shops", drift.lasting, (often, seldom)),
        ("walking by 0.4 in three hours", drift.walking, (often,)),
        ("half an hour of refusals, -1.0", drift.bursting, (often,)),
    ):
        for named, rate, hours in paces:
            _show_drift(f"{what:<34} {named:>12}", drift.World(how, rate, hours), arguments)
    for known in (True, False):
        what = f"0.7 off, {'known' if known else 'unknown'} to the model"
        world = drift.World(lambda *_: 0.7, 1.0 / 60.0, 6.0, known=known)
        _show_drift(f"{what:<34} {'1 a minute':>12}", world, arguments)


def _show_drift(head: str, world: drift.World, arguments: argparse.Namespace) -> None:
    """Print a line about a drift, over a tenth as many runs as outages have."""
    runs = [drift.played(world, arguments.seed + number) for number in range(max(arguments.repeats // 10, 1))]
    model, corrected = (sum(errors) / len(runs) for errors in list(zip(*runs, strict=True))[:2])
    print(f"{head}  {model:>8.5f} {corrected:>9.5f} {corrected / model:>6.2f}", flush=True)


def _in_denials(found: Sequence[gateway.Burst], sign: float) -> bool:
    return any(one.kind == "denied" and 60.0 * one.first <= sign < 60.0 * (one.last + 1) for one in found)


TABLES: Final[dict[str, Callable[[argparse.Namespace], None]]] = {
    "outages": outages,
    "alarms": alarms,
    "gateway": bursts,
    "recovery": recovery,
    "blame": blames,
    "adaptation": adaptation,
}

if __name__ == "__main__":
    raise SystemExit(main())
