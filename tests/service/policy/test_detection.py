"""Outages, false alarms and recovery in simulated time; `python -m benchmarks.detection` runs more of it."""

from statistics import median

import numpy as np
import pytest

from benchmarks import gateway
from benchmarks.detection import main
from benchmarks.incidents import Course, Outage, course, false_alarms

SEEDS = range(6)


def courses(outage: Outage) -> list[Course]:
    return [course(outage, seed) for seed in SEEDS]


@pytest.mark.parametrize("usual", [0.002, 0.02, 0.08])
@pytest.mark.parametrize(("share", "faults"), [(1.0, 1.0), (1.0, 0.5), (1.0, 0.3), (0.3, 1.0), (0.3, 0.5), (0.05, 1.0)])
def test_an_outage_is_noticed_within_half_a_minute(share: float, faults: float, usual: float) -> None:
    ran = courses(Outage(share=share, faults=faults, usual=usual, seconds=31.0, after=0.0))
    assert all(one.noticed is not None and one.noticed <= 30.0 for one in ran)


@pytest.mark.parametrize("share", [1.0, 0.3, 0.05])
def test_a_full_outage_is_stopped_within_half_a_minute(share: float) -> None:
    ran = courses(Outage(share=share, seconds=31.0, after=0.0))
    assert all(one.stopped is not None and one.stopped <= 30.0 for one in ran)


def test_few_results_say_little_but_say_it_in_the_end() -> None:
    ran = courses(Outage(share=0.05, faults=0.5, usual=0.08, seconds=180.0, after=0.0))
    assert all(one.noticed is not None for one in ran)
    minutes = courses(Outage(rate=1 / 60, seconds=3600.0, after=0.0))
    assert all(one.noticed is not None and one.noticed < 1800.0 for one in minutes)


@pytest.mark.parametrize("share", [1.0, 0.3, 0.05])
def test_slow_answers_are_noticed_within_half_a_minute(share: float) -> None:
    ran = courses(Outage(share=share, faults=0.02, slower=4.0, seconds=31.0, after=0.0))
    assert all(one.slowed is not None and one.slowed <= 30.0 for one in ran)
    assert all(one.stopped is None for one in ran)


@pytest.mark.parametrize("usual", [0.002, 0.02, 0.08])
@pytest.mark.parametrize(
    ("rate", "lanes", "seconds"), [(20.0, 200, 600.0), (1.0, 150, 7200.0), (1 / 60, 150, 432_000.0)]
)
def test_there_are_no_false_alarms(rate: float, lanes: int, seconds: float, usual: float) -> None:
    found = false_alarms(rate, usual, lanes, seconds, seed=7)
    assert found.days > 1.0
    assert found.alarms < 0.1 * found.days
    assert found.stops <= found.alarms


def test_what_looks_for_false_alarms_would_see_them() -> None:
    def risen(seconds: float, usual: np.ndarray) -> np.ndarray:
        raised: np.ndarray = usual * (8.0 if seconds > 300.0 else 1.0)
        return raised

    found = false_alarms(1.0, 0.05, 40, 900.0, seed=7, changing=risen)
    assert found.alarms >= 40
    assert found.stops > 0


@pytest.mark.parametrize("share", [1.0, 0.3, 0.05])
@pytest.mark.parametrize("seconds", [30.0, 600.0])
def test_probes_bring_it_back_within_a_minute_or_so(share: float, seconds: float) -> None:
    ran = courses(Outage(share=share, seconds=seconds))
    ups = [one.up for one in ran if one.up is not None]
    assert len(ups) == len(ran)
    assert median(ups) < 60.0


def test_an_outage_costs_a_few_attempts_and_then_only_probes() -> None:
    ran = courses(Outage(seconds=600.0))
    # 12,000 payments are made in the time; two in a hundred of them try it.
    assert median([one.lost for one in ran]) < 400
    alone = course(Outage(seconds=600.0, alone=True), seed=1)
    assert alone.lost > 11_000
    assert alone.up is not None
    assert alone.up < 60.0


def test_it_does_not_fall_back_after_an_outage() -> None:
    ran = courses(Outage(rate=10.0, seconds=60.0, after=600.0, follow=True))
    assert sum(one.relapses for one in ran) <= 1


@pytest.mark.real_data
def test_a_gateways_bursts_are_noticed_and_its_issuers_are_not_blamed() -> None:
    if not (gateway.FOLDER / gateway.TRANSACTIONS).exists():
        pytest.skip(
            "the gateway's counts are not part of the project: expected a folder shared/data beside the checkout"
        )
    minutes = gateway.read()[:1800]
    found = gateway.bursts(minutes)
    assert [one.kind for one in found].count("faults") == 3
    assert [one.kind for one in found].count("denied") == 3
    signs = gateway.service_signs(minutes, seed=1)
    faults = gateway.noticed(minutes, "faults", signs["faults"])
    assert len(faults.found) == 3
    assert max(faults.found) < 600.0
    assert faults.false_alarms == 0
    denied = gateway.noticed(minutes, "denied", signs["denied"])
    assert len(denied.found) == 3
    assert denied.false_alarms == 0


def test_thresholds_count_by_the_minute() -> None:
    quiet, burst = gateway.Minute(95, 5, 0), gateway.Minute(85, 5, 10)
    minutes = [quiet] * 30 + [burst] * 20 + [quiet] * 60
    assert gateway.bursts(minutes) == [gateway.Burst("faults", 30, 49)]
    signs = gateway.threshold_signs(minutes, 0.05)["faults"]
    assert signs == [31 * 60.0]
    # The burst ends after 50 minutes, and half an hour later a sign is no longer its own.
    told = gateway.noticed(minutes, "faults", [*signs, 60.0 * 78, 60.0 * 81])
    assert told.delays == (60.0,)
    assert told.false_alarms == 1
    assert gateway.noticed(minutes, "faults", [60.0]).line.startswith("0 of 1, -, 13.1 false")


def test_the_command_prints_what_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["blame"]) == 0
    told = capsys.readouterr().out
    assert "issuer unavailable   declined  91  network" in told
    assert "timeout              timeout   -   processor" in told
    with pytest.raises(SystemExit):
        main(["weather"])
