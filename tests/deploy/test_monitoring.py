"""Alerts, dashboard and runbook, held to the metrics of a real service and to a real Prometheus that follows it."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import yaml

from tests.deploy.dockerfile import ROOT
from tests.deploy.driven import Driven, wait
from tests.deploy.prometheus import HOME, Prometheus, find, tool
from tests.deploy.promql import Selector, selectors, series
from tests.servers import RedisServer

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "pointsman.json").read_text())
ALERTS = [rule for group in yaml.safe_load((HOME / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
CASES = yaml.safe_load((HOME / "alerts.test.yaml").read_text())["tests"]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*"}

ADDED = {"job", "instance", "worker"}
"""Labels that Prometheus adds to what a service says, and several workers to what each of them says."""

UNPROVOKED = {
    "pointsman_degraded_total": {"model:.+": "model:risk_failed"},
    "pointsman_requests_total": {"429": "429"},
}
"""Values of labels that the driven service does not come to show, and one that it would."""

ON_A_BUSY_MACHINE = {
    f"Pointsman{name}" for name in ("Slow", "JournalSlow", "JournalFillsUp", "StoreBehind", "StoreLost")
}
"""Alerts that are right, too, where the tests' own machine is slow, or others fill its disk."""


def filled(expression: str) -> str:
    """Return an expression of the dashboard with Grafana's variables filled in."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def asked() -> dict[str, str]:
    """Every expression, by where it stands."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in ALERTS}
    for panel in PANELS:
        for target in panel["targets"]:
            found[f"panel {panel['title']} {target['refId']}"] = filled(target["expr"])
    for annotation in DASHBOARD["annotations"]["list"]:
        found[f"annotation {annotation['name']}"] = filled(annotation["expr"])
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            found[f"variable {variable['name']}"] = variable["definition"]
    return found


EXPRESSIONS = asked()


class Seen(NamedTuple):
    """What a service said in the end, and what Prometheus knows of it, where there is one."""

    series: dict[str, list[dict[str, str]]]
    text: str
    prometheus: Prometheus | None
    before: set[str]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, bundle_shelf: Any) -> Iterator[Seen]:
    redis = RedisServer()
    redis.start()
    driven = prometheus = None
    try:
        driven = Driven(tmp_path_factory.mktemp("driven"), redis)
        program = find("prometheus")
        if program is not None:
            folder = tmp_path_factory.mktemp("prometheus")
            prometheus = Prometheus(program, folder, f"127.0.0.1:{driven.port}")
            # Before its first look Prometheus thinks that nothing is there.
            wait(lambda: prometheus.alerts() not in (set(), {"PointsmanDown"}))
        driven.without_bundle()
        if prometheus is not None:
            wait(lambda: "PointsmanFailing" in prometheus.alerts())
        before = set() if prometheus is None else prometheus.alerts()
        driven.with_bundle(bundle_shelf)
        driven.traffic()
        driven.frozen_store()
        driven.spoilt_state()
        if prometheus is not None:
            # The last of it has been scraped, and the rules have been asked since.
            wait(lambda: "PointsmanStateUnreadable" in prometheus.alerts())
        text = driven.scrape()
        yield Seen(series(text), text, prometheus, before)
    finally:
        if prometheus is not None:
            prometheus.stop()
        if driven is not None:
            driven.stop()
        redis.stop()


def _unknown(selector: Selector, said: dict[str, list[dict[str, str]]]) -> str | None:
    """Return what is wrong with a selector, seen from what a service says of itself."""
    if selector.name == "up":
        return None
    if selector.name not in said:
        return f"{selector}: no such metric"
    known = said[selector.name]
    names = set().union(*known) | ADDED
    for label, _, value in selector.matchers:
        if label not in names:
            return f"{selector}: no label {label}"
        unprovoked = UNPROVOKED.get(selector.name, {}).get(value)
        if unprovoked is not None:
            known = [*known, *({**each, label: unprovoked} for each in known)]
    own = Selector(selector.name, tuple(each for each in selector.matchers if each[0] not in ADDED))
    return None if any(map(own.takes, known)) else f"{selector}: no series"


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_every_expression_asks_for_series_that_a_service_has(where: str, seen: Seen) -> None:
    wanted = selectors(EXPRESSIONS[where])
    assert wanted
    assert [wrong for each in wanted if (wrong := _unknown(each, seen.series))] == []


def test_a_selector_that_asks_for_nothing_is_noticed(seen: Seen) -> None:
    for expression in (
        "pointsman_requests",
        'pointsman_requests_total{code="200"}',
        'pointsman_requests_total{status="299"}',
        'pointsman_request_seconds_bucket{le="0.05"}',
        'pointsman_degraded_total{code=~"feature:.+"}',
    ):
        [selector] = selectors(f"sum(rate({expression}[5m])) > 1")
        assert _unknown(selector, seen.series) is not None


def test_what_is_said_to_be_unprovoked_is(seen: Seen) -> None:
    for name, values in UNPROVOKED.items():
        for pattern in values:
            assert not any(re.fullmatch(pattern, value) for each in seen.series[name] for value in each.values())


def test_every_panel_shows_something(seen: Seen) -> None:
    if seen.prometheus is None:
        tool("prometheus")
    empty = [
        where for where in EXPRESSIONS if where.startswith("panel ") and not seen.prometheus.query(EXPRESSIONS[where])
    ]
    assert empty == []


def test_an_instance_without_a_bundle_is_noticed_at_once(seen: Seen) -> None:
    if seen.prometheus is None:
        tool("prometheus")
    assert seen.before - ON_A_BUSY_MACHINE == {"PointsmanFailing", "PointsmanNotReady"}


def test_the_alerts_say_what_the_service_met_and_nothing_else(seen: Seen) -> None:
    if seen.prometheus is None:
        tool("prometheus")
    assert [rule["name"] for rule in seen.prometheus.rules() if rule["health"] != "ok"] == []
    assert seen.prometheus.alerts() - ON_A_BUSY_MACHINE == {
        "PointsmanDegraded",
        "PointsmanFailing",
        "PointsmanOutcomesWaiting",
        "PointsmanRefusing",
        "PointsmanStateUnreadable",
        "PointsmanStoreSlow",
        "PointsmanUnkept",
    }


def test_the_autoscaler_s_metric_is_there_and_is_a_mean(seen: Seen) -> None:
    [rule] = yaml.safe_load((HOME / "adapter.yaml").read_text())["rules"]["custom"]
    # What the adapter fills in: which pods, and by what the answer is to be told apart.
    query = rule["metricsQuery"].replace("<<.LabelMatchers>>", 'job="pointsman"').replace("<<.GroupBy>>", "instance")
    for expression in (query, re.sub(r'(namespace|pod)!="",', "", rule["seriesQuery"])):
        assert [wrong for each in selectors(expression) if (wrong := _unknown(each, seen.series))] == []
    if seen.prometheus is None:
        tool("prometheus")
    [each] = seen.prometheus.query(query)
    # One client asked one question after another.
    assert 0 < float(each["value"][1]) < 1


def test_the_rules_become_a_resource_by_the_command_of_the_readme() -> None:
    text = (ROOT / "deploy" / "README.md").read_text()
    [command] = re.findall(r"^(\{ printf .*?\}) \| kubectl apply -f -$", text, re.MULTILINE | re.DOTALL)
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    made = yaml.safe_load(done.stdout)
    assert (made["kind"], made["metadata"]["name"]) == ("PrometheusRule", "pointsman")
    assert made["spec"] == yaml.safe_load((HOME / "alerts.yaml").read_text())


def test_every_rule_and_the_configuration_are_accepted(tmp_path: Any) -> None:
    promtool = tool("promtool")
    for command in (["rules", "alerts.yaml"], ["config", "prometheus.yaml"]):
        done = subprocess.run(
            [promtool, "check", *command], cwd=HOME, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_quiet_and_fires_when_it_should() -> None:
    done = subprocess.run(
        [tool("promtool"), "test", "rules", "alerts.test.yaml"],
        cwd=HOME,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_metrics_are_well_formed(seen: Seen) -> None:
    done = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=seen.text, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", [rule["alert"] for rule in ALERTS])
class TestEachAlert:
    def test_has_a_case_in_which_it_is_quiet_and_one_in_which_it_fires(self, alert: str) -> None:
        told = [each["exp_alerts"] for case in CASES for each in case["alert_rule_test"] if each["alertname"] == alert]
        assert [] in told
        assert any(told)

    def test_is_tested_with_series_that_a_service_has(self, alert: str, seen: Seen) -> None:
        for case in CASES:
            if case["name"] != alert:
                continue
            for given in case["input_series"]:
                [selector] = selectors(given["series"])
                labels = {label for label, _, _ in selector.matchers} - ADDED
                if selector.name != "up":
                    assert set(seen.series[selector.name][0]) - ADDED == labels, given["series"]

    def test_has_a_section_in_the_runbook_that_names_its_severity(self, alert: str) -> None:
        [rule] = [rule for rule in ALERTS if rule["alert"] == alert]
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{alert.lower()}"
        [section] = re.findall(rf"^### {alert}\n\n(.*?)(?=^##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
        assert section.startswith(f"*{rule['labels']['severity']}.* ")

    def test_has_a_section_that_names_what_it_looks_at(self, alert: str) -> None:
        [rule] = [rule for rule in ALERTS if rule["alert"] == alert]
        [section] = re.findall(rf"^### {alert}\n\n(.*?)(?=^##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
        named = set(re.findall(r"\b(?:pointsman|process)_[a-z_]+", section)) | ({"up"} if "`up{" in section else set())
        stems = {re.sub(r"_(bucket|count|sum)$", "", each.name) for each in selectors(rule["expr"])}
        assert named & stems


def test_the_runbook_speaks_of_no_other_alert() -> None:
    assert re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE) == [rule["alert"] for rule in ALERTS]
    links = set(re.findall(r"\]\(#(\w+)\)", RUNBOOK))
    assert links <= {rule["alert"].lower() for rule in ALERTS}


def test_every_metric_that_the_runbook_names_exists(seen: Seen) -> None:
    known = set(seen.series) | {re.sub(r"_(bucket|count|sum)$", "", name) for name in seen.series}
    named = set(re.findall(r"`((?:pointsman|process)_[a-z_]+)", RUNBOOK))
    assert named <= known
    assert named


class TestDashboard:
    def test_no_two_panels_share_an_id_or_a_place(self) -> None:
        panels = DASHBOARD["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        taken: set[tuple[int, int]] = set()
        for panel in panels:
            at = panel["gridPos"]
            cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
            assert max(x for x, _ in cells) < 24
            assert not cells & taken
            taken |= cells

    def test_every_query_goes_to_the_chosen_source_and_is_named(self) -> None:
        for panel in PANELS:
            assert panel["description"]
            for target in panel["targets"]:
                assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
                assert "legendFormat" in target

    def test_every_variable_used_is_declared(self) -> None:
        declared = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)\}?", json.dumps(DASHBOARD)))
        assert used - declared == {"__rate_interval", "__all"}
        assert declared <= used

    def test_a_legend_names_labels_that_the_query_keeps(self) -> None:
        for panel in PANELS:
            for target in panel["targets"]:
                kept = {
                    label for by in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in re.findall(r"\w+", by)
                }
                assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept

    def test_the_runbook_speaks_of_panels_that_are_there(self) -> None:
        titles = {panel["title"] for panel in PANELS}
        assert set(re.findall(r"[Pp]anel \*([^*]+)\*", RUNBOOK)) <= titles
