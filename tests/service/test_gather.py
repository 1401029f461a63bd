"""One scrape for all workers: merged by family, labelled by worker, and none is waited for in vain."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service import gather
from service.gather import Gather, merged
from service.metrics import Metrics

Told = dict[tuple[str, str], float]


def told(text: bytes) -> Told:
    """Return samples by name and worker; those of several other labels are summed."""
    samples: Told = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = (sample.name, sample.labels["worker"])
            samples[key] = samples.get(key, 0.0) + sample.value
    return samples


def figures(decisions: int) -> bytes:
    metrics = Metrics()
    for _ in range(decisions):
        metrics.decision("auth", "approve", ())
    metrics.endpoint("/a b").observe(200, 0.001)
    return metrics.scrape()


def test_samples_of_one_family_stand_together_whoever_told_them() -> None:
    text = merged({"0": figures(2), "1": figures(3)})
    samples = told(text)
    assert (samples["pointsman_decisions_total", "0"], samples["pointsman_decisions_total", "1"]) == (2, 3)
    lines = text.decode().splitlines()
    for what in ("HELP", "TYPE"):
        names = [line.split(" ")[2] for line in lines if line.startswith(f"# {what}")]
        assert len(names) == len(set(names)), what
    about = lines.index("# TYPE pointsman_decisions_total counter")
    assert all(line.startswith("pointsman_decisions_total{worker=") for line in lines[about + 1 : about + 3])
    assert 'pointsman_requests_total{worker="1",route="/a b",status="200"} 1.0' in lines


def test_a_worker_that_is_gone_is_named() -> None:
    samples = told(merged({"0": figures(1), "1": None}))
    assert (samples["pointsman_worker_up", "0"], samples["pointsman_worker_up", "1"]) == (1, 0)


def scraped(folder: Path, workers: int, *, before: Callable[[], object] = lambda: None) -> Told:
    """Return what the first of some workers tells, of which as many run as there are figures."""

    async def scrape() -> bytes:
        running = [Gather(folder, number, workers, lambda number=number: figures(number + 1)) for number in (0, 1)]
        for each in running:
            await each.open()
        try:
            before()
            return await running[0].all()
        finally:
            for each in running:
                await each.close()

    return told(asyncio.run(scrape()))


def test_workers_ask_each_other(tmp_path: Path) -> None:
    samples = scraped(tmp_path, 2)
    assert (samples["pointsman_decisions_total", "0"], samples["pointsman_decisions_total", "1"]) == (1, 2)
    assert list(tmp_path.iterdir()) == []


def test_one_that_was_never_there_is_named(tmp_path: Path) -> None:
    samples = scraped(tmp_path, 3)
    assert samples["pointsman_worker_up", "2"] == 0
    assert samples["pointsman_worker_up", "1"] == 1


def test_one_that_does_not_answer_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "ANSWER_SECONDS", 0.1)

    async def scrape() -> bytes:
        async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"half of a lin")
            await reader.read(-1)
            writer.close()

        silent = await asyncio.start_unix_server(never, tmp_path / "worker-1")
        asking = Gather(tmp_path, 0, 2, lambda: figures(1))
        await asking.open()
        try:
            return await asking.all()
        finally:
            await asking.close()
            silent.close()

    samples = told(asyncio.run(scrape()))
    assert (samples["pointsman_worker_up", "0"], samples["pointsman_worker_up", "1"]) == (1, 0)


def test_what_a_killed_predecessor_left_behind_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "worker-0").write_text("left behind")
    assert scraped(tmp_path, 2)["pointsman_worker_up", "1"] == 1
