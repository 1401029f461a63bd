"""Times by stage: in the answer of a request that asks for them, in the metrics of a share of all."""

from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from contracts.decision import Decision
from service import stages


def counted(edge: Any) -> dict[tuple[str, str], float]:
    """Return how many requests were timed, by kind and stage."""
    families = {family.name: family for family in text_string_to_metric_families(edge.get("/metrics").body.decode())}
    return {
        (sample.labels["kind"], sample.labels["stage"]): sample.value
        for sample in families["pointsman_stage_seconds"].samples
        if sample.name.endswith("_count")
    }


def test_a_request_that_asks_is_told_where_its_time_went(edge: Any, payment: Any) -> None:
    answer = edge.post("auth", payment, x_pointsman_timing="1")
    timing = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    assert list(timing) == ["decode", "encode", "total"]
    assert float(timing["total"]) > 0
    msgspec.json.decode(answer.body, type=Decision)


def test_nobody_else_is_told(edge: Any, payment: Any) -> None:
    assert "server-timing" not in edge.post("auth", payment).headers


def test_all_are_told_when_it_is_set_so_and_nobody_when_it_is_off(edge_with: Any, payment: Any) -> None:
    assert "server-timing" in edge_with(server_timing="always").post("auth", payment).headers
    off = edge_with(server_timing="off")
    assert "server-timing" not in off.post("auth", payment, x_pointsman_timing="1").headers
    assert counted(off) == {}


def test_a_refusal_tells_nothing_and_counts_no_stage_it_did_not_end(edge: Any, payment: Any) -> None:
    answer = edge.post("auth", {**payment, "amount_minor": "12"}, x_pointsman_timing="1")
    assert answer.status == 422
    assert "server-timing" not in answer.headers
    assert counted(edge) == {}


def test_one_of_so_many_of_a_kind_is_counted(edge_with: Any, payment: Any, retry: Any) -> None:
    edge = edge_with(stage_sample=3)
    for number in range(7):
        edge.post("auth", {**payment, "payment_id": f"pay_{number}"})
    edge.post("retry", retry)
    assert counted(edge) == {("auth", "decode"): 2, ("auth", "encode"): 2}


def test_none_is_counted_when_the_share_is_nought(edge_with: Any, payment: Any) -> None:
    edge = edge_with(stage_sample=0)
    for number in range(3):
        edge.post("auth", {**payment, "payment_id": f"pay_{number}"})
    assert counted(edge) == {}


def test_what_the_parts_behind_the_edge_say_is_in_between(edge: Any, payment: Any) -> None:
    decide = edge.decider._decide

    def decided(request: Any, deadline: float) -> Decision:
        clock = stages.current()
        clock.done("score")
        clock.done("choose")
        return decide(request, deadline)

    edge.decider._decide = decided
    edge.post("auth", payment, x_pointsman_timing="1")
    assert {stage for _, stage in counted(edge)} == {"decode", "score", "choose", "encode"}
    edge.post("auth", payment)
    assert set(counted(edge).values()) == {1}
