"""The unit: what systemd itself says of it, and what it promises the service."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import Settings, load
from tests.deploy.dockerfile import ROOT, stages

HOME = ROOT / "deploy" / "systemd"
UNIT = (HOME / "pointsman.service").read_text()
LINES = [line.split("=", 1) for line in UNIT.splitlines() if re.match(r"[A-Z]\w+=", line)]
EXPOSURE = 20
"""The most that `systemd-analyze security` may find, in tenths of its scale from 0 (nothing) to 10."""


def values(key: str) -> list[str]:
    return [value for name, value in LINES if name == key]


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("needs systemd-analyze")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    if "nrecognized option" in done.stderr:
        pytest.skip("needs systemd 250 or newer")
    return done


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program and a folder that this machine has."""
    path = tmp_path / "pointsman.service"
    moved = UNIT.replace("/opt/pointsman/bin/python", sys.executable)
    path.write_text(moved.replace("WorkingDirectory=/opt/pointsman/app", f"WorkingDirectory={tmp_path}"))
    return path


def test_systemd_has_nothing_against_it(unit: Path) -> None:
    done = analyze("verify", str(unit))
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_systemd_notices_a_word_it_does_not_know(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("ProtectClock=yes", "ProtectClocks=yes"))
    assert "ProtectClocks" in analyze("verify", str(unit)).stderr


def test_it_may_do_little(unit: Path) -> None:
    done = analyze("security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE}", str(unit))
    assert done.returncode == 0, done.stdout
    unit.write_text(re.sub(r"(?m)^(Protect|Restrict|SystemCall|Capability).*\n", "", unit.read_text()))
    assert analyze("security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE}", str(unit)).returncode != 0


def test_its_settings_are_known_and_lie_where_it_may_write() -> None:
    variables = dict(pair.split("=", 1) for value in values("Environment") for pair in value.split())
    chosen = load({name: value for name, value in variables.items() if name.startswith("POINTSMAN_")})
    [folders] = values("StateDirectory")
    state = {Path("/var/lib") / folder for folder in folders.split()}
    assert {chosen.bundles, chosen.journal} <= state


def test_a_wrong_setting_ends_with_the_code_that_is_not_tried_again() -> None:
    [code] = values("RestartPreventExitStatus")
    [start] = values("ExecStart")
    command = [sys.executable, *start.split()[1:]]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "POINTSMAN_PORTS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == int(code)
    assert done.stderr.startswith("pointsman: POINTSMAN_PORTS")


def test_it_has_time_to_drain() -> None:
    [seconds] = values("TimeoutStopSec")
    assert int(seconds) > Settings().drain_delay_seconds + Settings().drain_seconds


def test_its_user_is_the_image_s() -> None:
    [line] = [line for line in (HOME / "pointsman.sysusers").read_text().splitlines() if not line.startswith("#")]
    kind, name, number, *_ = line.split()
    assert kind == "u"
    assert values("User") == [name]
    assert stages("service.Dockerfile")[-1].last("USER").text == f"{number}:{number}"
