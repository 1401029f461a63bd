"""``python -m benchmarks.fuzz``: a million hostile bodies through the whole service in process; 0 crashes, 0 answers of 5xx.

Bodies are made from valid ones by changing values, fields, spelling and bytes; what reaches a new line of the edge, or a new
kind of refusal, is kept and changed further. Another seed is another run.
"""

import argparse
import asyncio
import gc
import heapq
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.fuzz.corpus import Case, Corpus
from benchmarks.fuzz.judge import complaint
from benchmarks.fuzz.reached import Reached
from benchmarks.fuzz.target import Seen, ask, opened
from benchmarks.material import kept_shelf

ROOT: Final = Path(__file__).parents[2]
ROUND: Final = 25_000
"""Inputs before the service starts anew: each answer is kept for a day, and would fill the memory."""
MOST_COMPLAINTS: Final = 20
_NUMBER: Final = re.compile(r"[0-9]+")
_SLOWEST: Final = 5
_SAY_EVERY_SECONDS: Final = 20.0


class Report(NamedTuple):
    """What a run made of it.

    Attributes
    ----------
    inputs, seconds, cpu_seconds
        How many, how long, and how much of the processor.
    answers
        How many answers of each status and code.
    complaints
        What was wrong, with the case.
    slowest
        Processor time in milliseconds, bytes, kind and code of the slowest.
    lines, reached
        Of the edge: how many there are, and how many were run.
    missing
        Those that were not, as file:line.
    kept
        Cases that reached something new.
    """

    inputs: int
    seconds: float
    cpu_seconds: float
    answers: Counter[str]
    complaints: list[tuple[str, Case]]
    slowest: list[tuple[float, int, str, str]]
    lines: int
    reached: int
    missing: list[str]
    kept: int

    @property
    def share(self) -> float:
        """Share of the lines that was run."""
        return self.reached / max(self.lines, 1)


def watched() -> list[Path]:
    """Return the files of the edge: all that bytes of a question meet, and none of what is served beside."""
    names = ("checks", "contract", "decisions", "messages", "pan", "plain", "turns", "wire")
    return [*(ROOT / "service" / "http" / f"{name}.py" for name in names), ROOT / "contracts" / "card_number.py"]


async def run(shelf: Path, inputs: int, seed: int, slow_ms: float, *, talk: bool = False) -> Report:
    """Send `inputs` cases and judge every answer.

    Parameters
    ----------
    shelf
        Bundles to decide with.
    slow_ms
        Processor time from which an answer counts as wrong.
    talk
        Whether to say now and then how far it is.
    """
    draw = random.Random(seed)
    corpus = Corpus(draw)
    answers: Counter[str] = Counter()
    known: set[str] = set()
    complaints: list[tuple[str, Case]] = []
    slowest: list[tuple[float, int, str, str]] = []
    done, began, said = 0, time.monotonic(), time.monotonic()
    spent_before = time.process_time()
    with Reached(watched()) as reached:
        while done < inputs and len(complaints) < MOST_COMPLAINTS:
            async with opened(shelf) as app:
                # As the server does: what is there by now is not looked at by every collection.
                gc.collect()
                gc.freeze()
                for _ in range(min(ROUND, inputs - done)):
                    case = corpus.next()
                    seen = await ask(app, case)
                    done += 1
                    wrong = complaint(case, seen)
                    code, novel = _read(case, seen)
                    answers[f"{seen.status} {code}" if seen.messages else "none: the client had gone"] += 1
                    spent = seen.cpu_seconds * 1000
                    if wrong is None and spent > slow_ms:
                        wrong = f"it took {spent:.0f} ms"
                    if wrong is not None:
                        complaints.append((wrong, case))
                        if len(complaints) == MOST_COMPLAINTS:
                            break
                    if reached.take() or novel not in known:
                        known.add(novel)
                        corpus.keep(case)
                    if len(slowest) < _SLOWEST or spent > slowest[0][0]:
                        heapq.heappush(slowest, (round(spent, 1), len(case.body), case.kind, code))
                        del slowest[: max(len(slowest) - _SLOWEST, 0)]
                        heapq.heapify(slowest)
                    if talk and time.monotonic() - said > _SAY_EVERY_SECONDS:
                        said = time.monotonic()
                        print(f"{done:>9,} inputs, {done / (said - began):,.0f}/s, {len(corpus)} kept", file=sys.stderr)
    missing = [f"{Path(file).relative_to(ROOT)}:{number}" for file, number in reached.missing]
    return Report(
        inputs=done,
        seconds=time.monotonic() - began,
        cpu_seconds=time.process_time() - spent_before,
        answers=answers,
        complaints=complaints,
        slowest=sorted(slowest, reverse=True),
        lines=len(reached.all),
        reached=len(reached.seen),
        missing=missing,
        kept=len(corpus),
    )


def _read(case: Case, seen: Seen) -> tuple[str, str]:
    """Return the code of an answer, and what makes it one of its own kind: where in which message what was wrong."""
    if seen.status == 200 or not seen.body.startswith(b"{"):
        return "", f"{case.kind} {seen.status}"
    problem = json.loads(seen.body)
    code = problem["code"]
    # An unknown field has any name; of numbers only that there is one counts.
    place = problem["path"].rpartition(".")[0] if code == "unknown_field" else problem["path"]
    return code, f"{case.kind} {code} {_NUMBER.sub('0', place)} {_NUMBER.sub('0', problem['detail'])}"


def show(report: Report) -> None:
    """Print a report."""
    rate, own = report.inputs / report.seconds, report.inputs / report.cpu_seconds
    print(f"{report.inputs:,} inputs in {report.seconds:.0f} s, {rate:,.0f} a second ({own:,.0f} of processor time)")
    reached = f"{report.reached} of {report.lines}, {report.share:.1%}"
    print(f"lines of the edge reached: {reached}; {report.kept} inputs kept")
    for answer, count in sorted(report.answers.items()):
        print(f"  {answer:<30} {count:>9,}  {count / report.inputs:>6.1%}")
    print("slowest, in processor time:")
    for spent, size, kind, code in report.slowest:
        print(f"  {spent:>7.1f} ms  {size:>7,} bytes  {kind} {code or 'accepted'}")
    failed = sum(count for answer, count in report.answers.items() if answer.startswith("5"))
    failed += sum(wrong.startswith("an exception") for wrong, _ in report.complaints)
    print(f"crashes and answers of 5xx: {failed}; complaints: {len(report.complaints)}")


def save(report: Report, folder: Path) -> None:
    """Write the cases that were complained about, to be looked at and sent again."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (wrong, case) in enumerate(report.complaints):
        stem = folder / f"{number:02}"
        stem.with_suffix(".body").write_bytes(case.body)
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in case.headers]
        about = {"wrong": wrong, "kind": case.kind, "method": case.method, "headers": headers}
        stem.with_suffix(".json").write_text(json.dumps(about, indent=1))
        print(f"  {wrong}: {case.method} {case.kind}, {len(case.body)} bytes, in {stem}.body")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--slow-ms", type=float, default=500.0, help="processor time from which an answer is too slow")
    parser.add_argument("--missing", action="store_true", help="list the lines of the edge that were not reached")
    parser.add_argument("--save", type=Path, default=Path("var/fuzz"), help="where cases that are complained about go")
    chosen = parser.parse_args(arguments)
    report = asyncio.run(run(kept_shelf(), chosen.inputs, chosen.seed, chosen.slow_ms, talk=True))
    show(report)
    if chosen.missing:
        print("not reached: " + " ".join(report.missing))
    save(report, chosen.save)
    return 1 if report.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
