"""What the two Dockerfiles and the compose file promise, read from them: no container engine is at hand."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from service.access import exposure, keyfile
from service.errors import SettingsError
from service.settings import load
from tests.deploy.dockerfile import ROOT, copy_into, stages

IMAGES = ["service", "trainer"]


@pytest.mark.parametrize("image", IMAGES)
class TestBoth:
    def test_starts_from_a_slim_python_the_project_supports(self, image):
        first = (ROOT / "deploy" / f"{image}.Dockerfile").read_text()
        assert re.search(r"^ARG PYTHON=3\.1[123]$", first, re.MULTILINE)
        # What compiles is left behind; both are of one release.
        building, final = stages(f"{image}.Dockerfile")
        assert (building.base, final.base) == ("python:${PYTHON} AS made", "python:${PYTHON}-slim")

    def test_installs_its_own_set_by_hash_and_nothing_else(self, image):
        building, final = stages(f"{image}.Dockerfile")
        installs = [each.words for each in building.all("RUN") if "install" in each.words]
        assert all("--require-hashes" in words for words in installs)
        assert [words[-1] for words in installs] == [f"requirements/{image}.txt", "requirements/kernels.txt"]
        assert not [each for each in final.all("RUN") if "pip" in each.words]

    def test_brings_its_kernels_and_not_what_they_were_made_of(self, image):
        building, final = stages(f"{image}.Dockerfile")
        words = [each.words for each in building.all("RUN")]
        made = next(place for place, each in enumerate(words) if "build_ext" in each)
        assert "_native.pyx" in words[made + 1][-1], "checked at once"
        assert {"cython", "setuptools"} <= set(next(each for each in words if "uninstall" in each))
        assert not final.copies

    def test_every_package_of_the_set_is_pinned_with_a_hash(self, image):
        for name in (image, "kernels"):
            text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
            lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
            assert lines
            assert all("==" in line and "--hash=sha256:" in line for line in lines)

    def test_does_not_run_as_root(self, image):
        final = stages(f"{image}.Dockerfile")[-1]
        user, group = final.last("USER").text.split(":")
        assert int(user) > 0
        assert int(group) > 0
        assert any(f"--uid {user} --gid {group}" in each.text for each in final.all("RUN"))
        assert any(f"groupadd --system --gid {group}" in each.text for each in final.all("RUN"))

    def test_leaves_its_tools_and_the_packages_tests_behind(self, image):
        building, final = stages(f"{image}.Dockerfile")
        words = [each.words for each in building.all("RUN")]
        [gone] = [each for each in words if "uninstall" in each]
        assert {"pip", "setuptools"} <= set(gone)
        assert any("tests" in each and "rm" in each for each in words)
        # One layer brings all of it over, after the removals.
        assert [each.words[1:] for each in final.all("COPY")] == [["/opt/pointsman"] * 2, ["/app"] * 2]

    def test_copies_only_what_is_there_and_let_through(self, image):
        let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
        for stage in stages(f"{image}.Dockerfile"):
            for source, _ in stage.copies:
                assert source.split("/")[0] in let_through
                assert list(ROOT.glob(source))


def test_trainer_image_holds_what_its_command_needs(tmp_path):
    building, final = stages("trainer.Dockerfile")
    copy_into(building, tmp_path)
    command = [*final.last("ENTRYPOINT").words, *final.last("CMD").words]
    assert command[0] == "python"
    # In another folder and without this checkout on the path: what is imported is what was copied.
    probe = (
        "import runpy, sys, trainer\n"
        "assert trainer.__file__.startswith(sys.argv.pop(1))\n"
        "runpy.run_module('trainer', run_name='__main__')"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", probe, str(tmp_path), *command[3:]],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path / "app")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "simulate" in ran.stdout
    assert "fit" in ran.stdout


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())


class TestCompose:
    def test_service_waits_for_a_healthy_redis(self, compose):
        service, redis = compose["services"]["service"], compose["services"]["redis"]
        assert service["depends_on"]["redis"]["condition"] == "service_healthy"
        assert redis["healthcheck"]["test"] == ["CMD", "redis-cli", "ping"]

    def test_redis_keeps_what_it_was_told(self, compose):
        command = compose["services"]["redis"]["command"]
        assert command[command.index("--appendonly") + 1] == "yes"
        assert command[command.index("--maxmemory-policy") + 1] == "noeviction"

    def test_ports_are_bound_to_loopback(self, compose):
        bound = [port for service in compose["services"].values() for port in service.get("ports", ())]
        assert len(bound) == 3
        assert all(port.startswith("127.0.0.1:") for port in bound)

    def test_nothing_has_rights_or_a_writable_root(self, compose):
        for service in compose["services"].values():
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]

    def test_images_of_others_have_a_version(self, compose):
        for service in compose["services"].values():
            _, _, tag = service["image"].partition(":")
            assert any(digit.isdigit() for digit in tag)

    def test_what_watches_runs_only_when_asked_for(self, compose):
        assert compose["services"]["prometheus"]["profiles"] == compose["services"]["grafana"]["profiles"] == ["watch"]

    def test_trainer_runs_only_when_asked_for(self, compose):
        assert compose["services"]["trainer"]["profiles"] == ["trainer"]

    def test_settings_of_image_and_compose_are_known_to_the_service(self, compose):
        image = stages("service.Dockerfile")[-1].environment
        settings = load({**image, **compose["services"]["service"]["environment"]})
        assert settings.store == "redis://redis:6379/0"
        assert settings.host == "0.0.0.0"
        mounts = dict(volume.split(":")[:2][::-1] for volume in compose["services"]["service"]["volumes"])
        assert mounts[str(settings.bundles)] == "bundles"
        assert mounts[str(settings.journal)] == "journal"
        assert mounts[str(settings.keys.parent)] == "keys"
        exposure.check(settings)

    def test_the_image_alone_does_not_answer_whoever_comes(self):
        with pytest.raises(SettingsError, match="nobody is asked for a key"):
            exposure.check(load(stages("service.Dockerfile")[-1].environment))

    def test_keys_are_made_where_the_service_looks(self, compose, tmp_path):
        made, read = (compose["services"][name] for name in ("keys", "service"))
        assert made["environment"]["POINTSMAN_KEYS"] == read["environment"]["POINTSMAN_KEYS"]
        assert "keys:/var/lib/pointsman/keys" in made["volumes"]
        assert "keys:/var/lib/pointsman/keys:ro" in read["volumes"]
        [command] = re.findall(r"run --rm keys (add .*)", (ROOT / "deploy" / "README.md").read_text())
        program = [sys.executable, *made["entrypoint"][1:], *command.split()]
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "POINTSMAN_KEYS": str(tmp_path / "keys.json")}
        said = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout
        assert "pm_" in said
        assert [key.scopes for key in keyfile.read(tmp_path / "keys.json")] == [("decide", "report")]

    def test_volumes_and_files_named_exist(self, compose):
        for service in compose["services"].values():
            for volume in service.get("volumes", ()):
                source = volume.split(":")[0]
                assert (ROOT / "deploy" / source).exists() if source.startswith("./") else source in compose["volumes"]
            if "build" in service:
                assert (ROOT / service["build"]["dockerfile"]).is_file()

    def test_bundles_are_published_where_the_service_looks(self, compose):
        writes, reads = (compose["services"][name]["volumes"] for name in ("trainer", "service"))
        assert "bundles:/var/lib/pointsman/bundles" in writes
        assert "bundles:/var/lib/pointsman/bundles:ro" in reads

    def test_grafana_finds_its_source_and_its_dashboard(self, compose):
        home = ROOT / "deploy" / "grafana"
        mounts = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
        assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
        [source] = yaml.safe_load((home / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
        assert source["url"] == "http://prometheus:9090"
        assert any(port.endswith(":9090") for port in compose["services"]["prometheus"]["ports"])
        [provider] = yaml.safe_load((home / "provisioning/dashboards/pointsman.yaml").read_text())["providers"]
        dashboard = mounts["./grafana/pointsman.json"]
        assert str(Path(dashboard).parent) == provider["options"]["path"]
        assert compose["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == dashboard
        variables = json.loads((home / "pointsman.json").read_text())["templating"]["list"]
        assert variables[0]["current"]["value"] == source["uid"]

    def test_prometheus_is_started_with_the_files_it_is_given(self, compose):
        service = compose["services"]["prometheus"]
        mounts = dict(volume.split(":")[:2][::-1] for volume in service["volumes"])
        [file] = [word.partition("=")[2] for word in service["command"] if word.startswith("--config.file=")]
        configuration = yaml.safe_load((ROOT / "deploy" / mounts[file]).read_text())
        for name in configuration["rule_files"]:
            assert str(Path(file).parent / name) in mounts
        [job] = configuration["scrape_configs"]
        assert job["static_configs"] == [{"targets": ["service:8080"]}]
