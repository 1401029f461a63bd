"""The hot path's tables: what is held against which target, and that they are written where they belong."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from benchmarks import hotpath, usage
from benchmarks.client import Seen
from benchmarks.documents import NoPlace, put, table
from benchmarks.hotpath_report import MEMORY, REDIS, Memory, Report, Steady, Workers, rendered
from benchmarks.results import FLOOR, JSON_FLOOR, Latency, Machine, Row, measured

MACHINE = Machine(processor="CPU", cores=2, system="Linux", python="CPython 3.11", load_before=0.1)


def row(phase, target, rate, p50=0.5, p99=2.0, p999=9.0, **more):
    latency = Latency(p50=p50, p95=1.0, p99=p99, p999=p999)
    fields = {"requests": 100, "by_kind": {}, "errors": {}, "degraded": {}, "server_us": 90.0} | more
    return Row(phase=phase, target=target, per_second=rate, latency_ms=latency, **fields)


def report(memory=12_500, redis=10_100, retry=9_800, **more):
    rates = {JSON_FLOOR: 38_000, FLOOR: 20_000, MEMORY: memory, REDIS: redis}
    saturated = [row("auth", name, rate) for name, rate in rates.items()]
    saturated += [row("retry", name, retry) for name in rates]
    fields = {
        "machine": MACHINE,
        "seconds": 4.0,
        "turns": 2,
        "connections": (32, 64),
        "runs": {"auth": 2.0, "retry": 1.0},
        "saturated": tuple(saturated),
        "steady": (Steady(tool="ours", row=row("constant", REDIS, 1_000)),),
        "memory": (Memory(subject=REDIS, mib=180.0),),
        "workers": (
            Workers(workers=1, row=row("workers", REDIS, 10_000), mib=(170.0,), ready_seconds=1.1),
            Workers(workers=2, row=row("workers", REDIS, 15_000), mib=(171.0, 172.0), ready_seconds=1.4),
        ),
        "ready_seconds": (1.0, 1.1, 1.4),
        "memory_store_with_two": "pointsman: memory:// is one process's own",
        "at": datetime(2026, 11, 24, tzinfo=UTC),
    }
    return Report(**(fields | more))


def verdict(text, what):
    (line,) = [line for line in text.splitlines() if line.startswith("| ") and what in line and "target" not in line]
    return line.rstrip(" |").rpartition("| ")[2]


def test_all_targets_met():
    text = rendered(report())
    assert "missed" not in text
    assert text.count("| met |") == 10
    assert "| 2 | 15,000 | 1.50 |" in text


@pytest.mark.parametrize(
    ("changed", "what", "expected"),
    [
        ({"redis": 9_999}, "auth, `redis://`, saturated", "least met"),
        ({"redis": 5_999}, "auth, `redis://`, saturated", "**missed**"),
        ({"memory": 11_000}, "auth, `memory://`, saturated", "least met"),
        ({"memory": 9_900}, "of the floor's rate, `memory://`", "**missed**"),
        ({"retry": 7_000}, "retry against auth, `redis://`", "**missed**"),
        (
            {"steady": (Steady(tool="ours", row=row("constant", REDIS, 1_000, p50=0.61)),)},
            "p50, p99, p99.9",
            "**missed**",
        ),
        (
            {"steady": (Steady(tool="ours", row=row("constant", REDIS, 1_000, p99=3.1)),)},
            "p50, p99, p99.9",
            "**missed**",
        ),
        (
            {"steady": (Steady(tool="ours", row=row("constant", REDIS, 1_000, p999=11.0)),)},
            "p50, p99, p99.9",
            "**missed**",
        ),
        ({"ready_seconds": (1.4, 1.6, 1.7)}, "ready, from its execution", "**missed**"),
        ({"memory": 12_500, "workers": ()}, "memory of a worker", "met"),
        ({"memory_store_with_two": None}, "with two workers", "**missed**"),
    ],
)
def test_each_target_can_be_missed(changed, what, expected):
    assert verdict(rendered(report(**changed)), what) == expected


def test_the_largest_worker_counts():
    large = Workers(workers=2, row=row("workers", REDIS, 15_000), mib=(171.0, 221.0), ready_seconds=1.4)
    assert verdict(rendered(report(workers=(large,))), "memory of a worker") == "**missed**"


def test_errors_degraded_answers_and_a_busy_client_are_told():
    rows = list(report().saturated)
    rows[3] = row("auth", REDIS, 10_100, errors={"status 500": 3}, degraded={'"journal"': 7}, client_busy=0.95)
    text = rendered(report(saturated=tuple(rows), machine=msgspec.structs.replace(MACHINE, load_before=3.0)))
    assert "3 x status 500" in text
    assert '7 x "journal"' in text
    assert "the client used 95% of its core and was the limit" in text
    assert "not quiet: load 3.0" in text


def test_runs_are_bounded(capsys):
    assert hotpath.main(["--seconds", "60"]) == 2
    assert "expected --seconds" in capsys.readouterr().err


def test_a_table_is_written_in_place_of_the_one_before(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- one -->\n<!-- /one -->\n\nbetween\n\n<!-- two -->\nold\n<!-- /two -->\n")
    put(page, "one", "first")
    put(page, "two", "second")
    put(page, "one", table(["a", "b"], [["1", "2"]]))
    written = page.read_text()
    assert "first" not in written
    assert "old" not in written
    assert "<!-- one -->\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n<!-- /one -->\n\nbetween" in written
    assert written.endswith("<!-- two -->\n\nsecond\n\n<!-- /two -->\n")


@pytest.mark.parametrize(
    "text", ["nothing", "<!-- one -->\n", "<!-- one -->\n<!-- /one -->\n<!-- one -->\n<!-- /one -->\n"]
)
def test_a_document_without_one_place_is_left_alone(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(NoPlace, match="expected one <!-- one -->"):
        put(page, "one", "text")
    assert page.read_text() == text


def test_the_documents_have_the_places():
    text = hotpath.FIGURES.read_text()
    for name in ("hotpath", "peers"):
        assert text.count(f"<!-- {name} -->\n") == text.count(f"<!-- /{name} -->") == 1


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc here")
def test_processor_time_of_children_counts_too():
    work = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
    both = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {work!r}])\nprint(flush=True)\nsys.stdin.read()\n"
    with subprocess.Popen([sys.executable, "-c", both], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert usage.cpu_seconds(process.pid) >= 0.25
        assert usage.rss_mib(process.pid) > 1
        assert usage.family(os.getpid()).count(process.pid) == 1
        process.stdin.close()
        process.wait(10)
    for _ in range(100):
        if process.pid not in usage.family(os.getpid()):
            break
        time.sleep(0.01)
    assert usage.rss_mib(process.pid) is None


def test_turns_add_up():
    one, other = Seen(), Seen()
    one.latencies["auth"], other.latencies["auth"] = hotpath.Seen().late, hotpath.Seen().late
    one.latencies["auth"].extend([0.001, 0.002])
    other.latencies["auth"].append(0.003)
    one.seconds, other.seconds = 1.0, 2.0
    one.server_seconds, other.server_seconds = 0.001, 0.002
    other.fail("status 500")
    one.add(other)
    total = measured("closed", "x", one)
    assert (total.requests, total.per_second, total.errors) == (4, 1.0, {"status 500": 1})
    assert total.server_us == pytest.approx(1_000)
