"""Metrics are plain numbers until somebody scrapes them."""

import sys

import pytest

from service.metrics import LATENCY_BUCKETS, Metrics


def test_a_duration_falls_into_the_first_bucket_that_holds_it() -> None:
    metrics = Metrics()
    endpoint = metrics.endpoint("/x")
    for seconds in (0.0, 0.00025, 0.00026, 0.1, 7.0):
        endpoint.observe(200, seconds)
    assert endpoint.latency.counts == [2, 1, *[0] * (len(LATENCY_BUCKETS) - 3), 1, 1]
    text = metrics.scrape().decode()
    assert 'pointsman_request_seconds_bucket{le="0.00025",route="/x"} 2.0' in text
    assert 'pointsman_request_seconds_bucket{le="+Inf",route="/x"} 5.0' in text
    assert 'pointsman_request_seconds_count{route="/x"} 5.0' in text


def test_two_apps_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.decision("auth", "approve", ())
    assert b'action="approve"' in first.scrape()
    assert b'action="approve"' not in second.scrape()


def test_degraded_codes_without_end_end_up_as_other() -> None:
    metrics = Metrics()
    for number in range(200):
        metrics.decision("auth", "approve", (f"code{number}",))
    assert len(metrics.degraded_codes) == 65
    assert metrics.degraded_codes["other"] == 200 - 64


def test_the_journal_is_counted_by_event_and_by_batch() -> None:
    metrics = Metrics()
    metrics.journal_queue = lambda: 3
    metrics.journal_committed(2, 0.002)
    metrics.journal_failed(5)
    text = metrics.scrape().decode()
    for line in (
        "pointsman_journal_events_total 2.0",
        "pointsman_journal_batches_total 1.0",
        "pointsman_journal_lost_total 5.0",
        "pointsman_journal_queue 3.0",
        "pointsman_journal_append_seconds_count 1.0",
    ):
        assert line in text


def test_a_route_without_errors_says_so() -> None:
    metrics = Metrics()
    metrics.endpoint("/x")
    assert b'pointsman_unexpected_errors_total{route="/x"} 0.0' in metrics.scrape()
    metrics.error("/x")
    metrics.error("/y")
    text = metrics.scrape().decode()
    assert 'pointsman_unexpected_errors_total{route="/x"} 1.0' in text
    assert 'pointsman_unexpected_errors_total{route="/y"} 1.0' in text


@pytest.mark.skipif(sys.platform != "linux", reason="the process is read from /proc")
def test_the_process_tells_of_its_memory_and_its_start() -> None:
    text = Metrics().scrape().decode()
    [memory] = [line for line in text.splitlines() if line.startswith("process_resident_memory_bytes ")]
    assert float(memory.split()[1]) > 1e6
    assert "\nprocess_start_time_seconds " in text


def test_what_evaluates_each_model_is_told() -> None:
    metrics = Metrics()
    assert b"pointsman_model_engine{" not in metrics.scrape()
    metrics.engines = lambda: {"approval": "c", "risk": "onnxruntime"}
    told = metrics.scrape()
    assert b'pointsman_model_engine{engine="c",model="approval"} 1.0' in told
    assert b'pointsman_model_engine{engine="onnxruntime",model="risk"} 1.0' in told
