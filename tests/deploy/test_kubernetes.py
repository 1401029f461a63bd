"""The manifests, rendered: accepted by Kubernetes' own schemas, at one with each other, with the images and with the service."""

import copy
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.access import exposure
from service.http.openapi import document
from service.settings import load
from tests.deploy.dockerfile import ROOT, stages
from tests.deploy.kustomize import Resource, build, pod, pod_labels

HOME = ROOT / "deploy" / "kubernetes"
FOLDERS = [HOME / "base", HOME / "trial"]
VERSIONS = ["1.31", kubernetes_validate.latest_version()]
"""The oldest and the newest Kubernetes that the manifests are held to."""

RENDERED = build(HOME / "trial")


def only(kind: str, name: str = "pointsman") -> Resource:
    [found] = [each for each in RENDERED if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def name_of(resource: Resource) -> str:
    return f"{resource['kind']}-{resource['metadata']['name']}"


WORKLOADS = [each for each in RENDERED if pod(each)]
SERVICE = only("StatefulSet")
SERVICE_POD = pod(SERVICE)
[SERVICE_CONTAINER] = SERVICE_POD["containers"]
IMAGES = {"pointsman-service": "service.Dockerfile", "pointsman-trainer": "trainer.Dockerfile"}


def refusal(resource: Resource, version: str) -> str | None:
    """Return what Kubernetes' own schema has against a resource; an unknown field is one thing."""
    try:
        kubernetes_validate.validate(resource, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error.message)
    return None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("resource", RENDERED, ids=name_of)
def test_the_schema_of_kubernetes_accepts_it(resource: Resource, version: str) -> None:
    assert refusal(resource, version) is None


def test_the_schema_refuses_what_is_wrong() -> None:
    for change in (
        lambda container: container.update(imagePullPollicy="Always"),
        lambda container: container["readinessProbe"].update(periodSeconds="2s"),
        lambda container: container["ports"][0].pop("containerPort"),
    ):
        wrong = copy.deepcopy(SERVICE)
        change(pod(wrong)["containers"][0])
        assert refusal(wrong, VERSIONS[-1]) is not None


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_file_of_a_folder_is_rendered(folder: Path) -> None:
    plan = yaml.safe_load((folder / "kustomization.yaml").read_text())
    files = {path.name for path in folder.iterdir()} - {"kustomization.yaml"}
    assert files == {entry for entry in plan["resources"] if "/" not in entry}


def test_nothing_is_there_twice() -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in RENDERED]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("workload", WORKLOADS, ids=name_of)
class TestEveryWorkload:
    def test_runs_without_root_and_without_a_writable_root(self, workload: Resource) -> None:
        spec = pod(workload)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            # What a node needs to know to place it, and to end it before it takes its neighbours along.
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]

    def test_gets_no_variables_of_the_services_beside_it(self, workload: Resource) -> None:
        assert pod(workload)["enableServiceLinks"] is False

    def test_mounts_volumes_that_are_there(self, workload: Resource) -> None:
        spec = pod(workload)
        claimed = {each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", ())}
        named = {volume["name"]: volume for volume in spec.get("volumes", ())}
        mounted = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
        assert mounted == claimed | set(named)
        claims = {each["metadata"]["name"] for each in RENDERED if each["kind"] == "PersistentVolumeClaim"}
        for volume in named.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims

    def test_is_the_image_s_user_and_version(self, workload: Resource) -> None:
        for container in pod(workload)["containers"]:
            name, _, tag = container["image"].partition(":")
            assert tag not in {"", "latest"}
            if name in IMAGES:
                user, _, group = stages(IMAGES[name])[-1].last("USER").text.partition(":")
                context = pod(workload)["securityContext"]
                assert [context["runAsUser"], context["runAsGroup"]] == [int(user), int(group)]
                assert tag == re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]


def _takes(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


class TestTheService:
    def test_starts_with_its_settings(self) -> None:
        image = stages("service.Dockerfile")[-1].environment
        settings = only("ConfigMap", "pointsman-settings")["data"]
        secret: dict[str, str] = {}
        for variable in SERVICE_CONTAINER["env"]:
            source = variable["valueFrom"]["secretKeyRef"]
            secret[variable["name"]] = only("Secret", source["name"])["stringData"][source["key"]]
        [source] = SERVICE_CONTAINER["envFrom"]
        assert source["configMapRef"]["name"] == "pointsman-settings"
        chosen = load({**image, **settings, **secret})
        assert chosen.port == SERVICE_CONTAINER["ports"][0]["containerPort"]
        mounts = {mount["mountPath"]: mount for mount in SERVICE_CONTAINER["volumeMounts"]}
        assert mounts[str(chosen.bundles)]["readOnly"] is True
        assert "readOnly" not in mounts[str(chosen.journal)]
        assert set(mounts) == {str(chosen.bundles), str(chosen.journal), str(chosen.keys.parent), "/tmp"}
        exposure.check(chosen)
        [claim] = SERVICE["spec"]["volumeClaimTemplates"]
        room = int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi"))
        assert 0 < chosen.journal_most_gib < room

    def test_reads_secrets_that_are_rendered_or_that_the_readme_makes(self) -> None:
        named = {volume["secret"]["secretName"] for volume in SERVICE_POD["volumes"] if "secret" in volume}
        text = (ROOT / "deploy" / "README.md").read_text()
        assert (
            named == set(re.findall(r"create secret generic (\S+) --from-file keys.json", text)) == {"pointsman-keys"}
        )

    def test_keeps_each_journal(self) -> None:
        [claim] = SERVICE["spec"]["volumeClaimTemplates"]
        assert claim["metadata"]["name"] == "journal"
        assert SERVICE["spec"]["persistentVolumeClaimRetentionPolicy"] == {
            "whenDeleted": "Retain",
            "whenScaled": "Retain",
        }

    @pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
    def test_is_probed_at_paths_that_are_served(self, probe: str) -> None:
        asked = SERVICE_CONTAINER[probe]["httpGet"]
        assert "get" in document(65_536)["paths"][asked["path"]]
        assert asked["port"] in {port["name"] for port in SERVICE_CONTAINER["ports"]}

    def test_is_alive_whatever_its_parts_do(self) -> None:
        paths = {probe: SERVICE_CONTAINER[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")}
        assert paths == {"livenessProbe": "/health/live", "readinessProbe": "/health/ready"}

    def test_has_time_to_drain(self) -> None:
        chosen = load(only("ConfigMap", "pointsman-settings")["data"])
        probe = SERVICE_CONTAINER["readinessProbe"]
        assert chosen.drain_delay_seconds > probe["periodSeconds"] * probe["failureThreshold"]
        needed = chosen.drain_delay_seconds + chosen.drain_seconds
        assert SERVICE_POD["terminationGracePeriodSeconds"] > needed

    def test_stands_apart_from_its_like(self) -> None:
        terms = SERVICE_POD["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        assert {term["podAffinityTerm"]["topologyKey"] for term in terms} == {
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        }
        for term in terms:
            assert _takes(term["podAffinityTerm"]["labelSelector"]["matchLabels"], pod_labels(SERVICE))

    def test_is_found_by_prometheus_where_it_says_its_metrics(self) -> None:
        notes = SERVICE["spec"]["template"]["metadata"]["annotations"]
        assert notes["prometheus.io/port"] == str(SERVICE_CONTAINER["ports"][0]["containerPort"])
        assert "get" in document(65_536)["paths"][notes["prometheus.io/path"]]


class TestAroundIt:
    @pytest.mark.parametrize("workload", WORKLOADS, ids=name_of)
    def test_a_workload_selects_its_own_pods(self, workload: Resource) -> None:
        if workload["kind"] == "StatefulSet":
            assert _takes(workload["spec"]["selector"]["matchLabels"], pod_labels(workload))
            governing = only("Service", workload["spec"]["serviceName"])
            assert _takes(governing["spec"]["selector"], pod_labels(workload))

    @pytest.mark.parametrize(
        "service", [each for each in RENDERED if each["kind"] == "Service"], ids=lambda each: each["metadata"]["name"]
    )
    def test_a_service_leads_to_one_workload_and_a_port_of_it(self, service: Resource) -> None:
        [behind] = [each for each in WORKLOADS if _takes(service["spec"]["selector"], pod_labels(each))]
        ports = {port["name"] for container in pod(behind)["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports

    def test_the_store_s_address_is_a_service(self) -> None:
        url = only("Secret", "pointsman-store")["stringData"]["url"]
        host, port = re.fullmatch(r"redis://([^:/]+):(\d+)/0", url).groups()
        assert int(port) in {each["port"] for each in only("Service", host)["spec"]["ports"]}

    def test_a_drain_takes_one_at_a_time(self) -> None:
        budget = only("PodDisruptionBudget")["spec"]
        assert budget["maxUnavailable"] == 1
        assert _takes(budget["selector"]["matchLabels"], pod_labels(SERVICE))
        assert only("HorizontalPodAutoscaler")["spec"]["minReplicas"] > budget["maxUnavailable"]

    def test_the_autoscaler_alone_says_how_many(self) -> None:
        scaler = only("HorizontalPodAutoscaler")["spec"]
        assert scaler["scaleTargetRef"] == {
            "apiVersion": SERVICE["apiVersion"],
            "kind": SERVICE["kind"],
            "name": SERVICE["metadata"]["name"],
        }
        assert "replicas" not in SERVICE["spec"]
        assert "cpu" in SERVICE_CONTAINER["resources"]["requests"]

    def test_the_autoscaler_goes_by_a_metric_that_the_adapter_makes(self) -> None:
        [by] = [each["pods"] for each in only("HorizontalPodAutoscaler")["spec"]["metrics"] if each["type"] == "Pods"]
        [rule] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "adapter.yaml").read_text())["rules"]["custom"]
        assert by["metric"]["name"] == rule["name"]["as"]

    def test_everything_is_shut_but_what_is_named(self) -> None:
        shut = only("NetworkPolicy", "nothing-else")["spec"]
        assert shut == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}

    @pytest.mark.parametrize("workload", WORKLOADS, ids=name_of)
    def test_every_workload_has_a_policy_of_its_own(self, workload: Resource) -> None:
        own = [
            each
            for each in RENDERED
            if each["kind"] == "NetworkPolicy"
            and each["spec"]["podSelector"]
            and _takes(each["spec"]["podSelector"]["matchLabels"], pod_labels(workload))
        ]
        assert len(own) == 1

    def test_the_service_reaches_its_store_and_the_store_lets_it(self) -> None:
        redis = only("StatefulSet", "redis")
        out = [rule for rule in only("NetworkPolicy")["spec"]["egress"] if _leads(rule["to"], pod_labels(redis))]
        assert [port["port"] for rule in out for port in rule["ports"]] == [6379]
        into = only("NetworkPolicy", "redis")["spec"]["ingress"]
        assert any(_leads(rule["from"], pod_labels(SERVICE)) for rule in into)

    def test_ports_that_policies_name_are_ports_of_their_pods(self) -> None:
        for policy in RENDERED:
            if policy["kind"] != "NetworkPolicy" or "ingress" not in policy["spec"]:
                continue
            [behind] = [
                each for each in WORKLOADS if _takes(policy["spec"]["podSelector"]["matchLabels"], pod_labels(each))
            ]
            ports = {port["name"] for container in pod(behind)["containers"] for port in container["ports"]}
            assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} <= ports


def _leads(peers: list[dict[str, Any]], labels: dict[str, str]) -> bool:
    return any(
        "namespaceSelector" not in peer and _takes(peer.get("podSelector", {}).get("matchLabels", {"": ""}), labels)
        for peer in peers
    )


class TestTheTrainer:
    def test_publishes_where_the_service_looks(self) -> None:
        trainer = only("CronJob", "pointsman-trainer")
        [container] = pod(trainer)["containers"]
        claims = {volume["name"]: volume.get("persistentVolumeClaim") for volume in pod(trainer)["volumes"]}
        mounts = {mount["mountPath"]: claims[mount["name"]] for mount in container["volumeMounts"]}
        image = stages("trainer.Dockerfile")[-1]
        home = Path([each.text for each in image.instructions if each.name == "WORKDIR"][-1])
        shelf = home / container["args"][container["args"].index("--bundles") + 1]
        read = {volume["name"]: volume.get("persistentVolumeClaim") for volume in SERVICE_POD["volumes"]}
        assert mounts[str(shelf)]["claimName"] == read["bundles"]["claimName"]
        history = home / container["args"][container["args"].index("--history") + 1]
        assert any(history.is_relative_to(path) for path in mounts)

    def test_asks_for_options_that_the_trainer_has(self) -> None:
        from trainer.__main__ import main

        [container] = pod(only("CronJob", "pointsman-trainer"))["containers"]
        with pytest.raises(SystemExit) as ended:
            main([*container["args"], "--help"])
        assert ended.value.code == 0

    def test_never_runs_twice_at_once(self) -> None:
        assert only("CronJob", "pointsman-trainer")["spec"]["concurrencyPolicy"] == "Forbid"
