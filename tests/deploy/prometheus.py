"""A real Prometheus on loopback, and its promtool: found on PATH or in var/prometheus (see tests/need_prometheus.sh)."""

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from tests.deploy.dockerfile import ROOT
from tests.servers import free_port

HOME = ROOT / "deploy" / "prometheus"
KEPT = ROOT / "var" / "prometheus" / "usr" / "bin"
START_SECONDS = 30.0


def tool(name: str) -> str:
    """Return the path of a tool; a test skips where there is none."""
    found = find(name)
    if found is None:
        pytest.skip(f"needs {name}: `sh tests/need_prometheus.sh` fetches it on Debian and Ubuntu")
    return found


def find(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=str(KEPT))


class Prometheus:
    """Follows one service by the project's own configuration, only faster, and at the port it has here."""

    def __init__(self, program: str, folder: Path, target: str) -> None:
        self.configuration = yaml.safe_load((HOME / "prometheus.yaml").read_text())
        self.configuration["global"] = {"scrape_interval": "250ms", "evaluation_interval": "250ms"}
        [job] = self.configuration["scrape_configs"]
        job["static_configs"] = [{"targets": [target]}]
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(self.configuration))
        shutil.copy(HOME / "alerts.yaml", folder)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = (folder / "log").open("wb")
        options = [
            f"--config.file={folder}/prometheus.yaml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        self._process = subprocess.Popen([program, *options], stdout=self._log, stderr=subprocess.STDOUT)
        until = time.monotonic() + START_SECONDS
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"prometheus did not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(timeout=10)
        self._log.close()

    def query(self, expression: str) -> list[Any]:
        """Return the series an expression has now."""
        return list(self._get("/api/v1/query", query=expression)["result"])

    def rules(self) -> list[Any]:
        return [rule for group in self._get("/api/v1/rules")["groups"] for rule in group["rules"]]

    def alerts(self) -> set[str]:
        """Return the names of the alerts whose condition holds, whether long enough or not."""
        return {alert["labels"]["alertname"] for alert in self._get("/api/v1/alerts")["alerts"]}

    def _ready(self) -> bool:
        try:
            with urlopen(f"{self.url}/-/ready", timeout=1):
                return True
        except OSError:
            return False

    def _get(self, path: str, **arguments: str) -> Any:
        with urlopen(f"{self.url}{path}?{urlencode(arguments)}", timeout=10) as answer:
            return json.load(answer)["data"]
