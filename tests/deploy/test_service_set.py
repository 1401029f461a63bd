"""The service image without an engine: its own commands in a scratch folder, then a decision asked of what came out.

This is the proof that the service needs its pinned set alone, less what the image removes of it, and, where this machine can
contain a process, neither root nor a writable root. It installs some thirty packages: about half a minute.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.deploy.contained import USER, contained, why_not
from tests.deploy.dockerfile import ROOT, Stage, copy, stages
from tests.servers import free_port

BATCH_ONLY = (
    "polars", "pandas", "sklearn", "xgboost", "pyarrow", "duckdb", "deltalake", "matplotlib", "scipy",
    "skl2onnx", "onnxmltools", "onnx", "trainer", "benchmarks", "features.offline",
)  # fmt: skip

# A busy machine that has to compile the kernels takes minutes to make what the first test asks for.
pytestmark = pytest.mark.timeout(600)

MAKES_USERS = ("groupadd", "useradd", "install")
"""Commands of the image that change the machine they run on."""

PAYMENT = {
    "payment_id": "pay_1",
    "merchant_id": "shop_1",
    "amount_minor": 12_990,
    "currency": "EUR",
    "card_token": "tok_1",
    "card_network": "visa",
    "issuer_country": "DE",
}


def bring_kernels(app: Path) -> None:
    """Lay what this checkout has compiled of the same sources where the compiler would: it then has nothing left to do.

    Kernels that this checkout has not compiled since they changed are compiled; all of them take half a minute.
    """
    library = app / "build" / f"lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
    shared = max(path.stat().st_mtime for room in ("features", "service") for path in (ROOT / room).rglob("*.pxd"))
    for source in app.rglob("*_native.pyx"):
        beside = source.relative_to(app).parent
        written = ROOT / beside / f"{source.stem}.c"
        compiled = ROOT / beside / f"{source.stem}{sysconfig.get_config_var('EXT_SUFFIX')}"
        changed = max(shared, (ROOT / beside / source.name).stat().st_mtime)
        if all(made.exists() and made.stat().st_mtime >= changed for made in (written, compiled)):
            (library / beside).mkdir(parents=True, exist_ok=True)
            # As of now: newer than the packages just installed, whose headers count as sources.
            shutil.copyfile(written, app / beside / written.name)
            shutil.copy(compiled, library / beside)


class Image:
    """A folder that stands for the root of both stages: what one leaves at a path the other takes from there."""

    def __init__(self, root: Path, building: Stage, final: Stage) -> None:
        self.root = root
        self.final = final
        for stage in (building, final):
            at = root
            for each in stage.instructions:
                if each.name == "WORKDIR":
                    at = Path(self.placed(each.text))
                elif each.name == "COPY" and "--from" not in each.text:
                    copy(each, at)
                elif each.name == "RUN" and each.words[0] not in MAKES_USERS:
                    if "build_ext" in each.words:
                        bring_kernels(at)
                    self.run([self.placed(word) for word in each.words], cwd=at)

    def placed(self, word: str) -> str:
        """A word of a command with the image's paths moved into the folder."""
        if word == "python":
            return str(self.root / "opt/pointsman/bin/python") if (self.root / "opt").exists() else sys.executable
        for path in ("/opt/pointsman", "/var/lib/pointsman", "/app"):
            word = re.sub(rf"(?<![\w/]){path}\b", f"{self.root}{path}", word)
        return word

    def run(self, command: list[str], cwd: Path, **more: str) -> str:
        # pip needs to know which index this machine uses; nothing else of the environment comes in.
        kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name == "HOME"}
        environment = {**kept, "PATH": "/usr/bin:/bin", **more}
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def environment(self, port: int) -> dict[str, str]:
        """The image's ENV, on loopback and a free port."""
        moved = {name: self.placed(value) for name, value in self.final.environment.items()}
        return {**moved, "POINTSMAN_HOST": "127.0.0.1", "POINTSMAN_PORT": str(port)}

    def start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
        """Start a command in /app, contained where that can be done."""
        app = self.root / "app"
        if not self.contains:
            return subprocess.Popen(command, cwd=app, env=environment, text=True, stdout=subprocess.PIPE)
        command, more = contained(command, app, [Path(environment["POINTSMAN_JOURNAL"])])
        path = {"PATH": f"{environment['PATH']}:/usr/sbin:/sbin"}
        return subprocess.Popen(command, env={**environment, **more, **path}, text=True, stdout=subprocess.PIPE)

    @property
    def contains(self) -> bool:
        return why_not() is None


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler, as the image's first stage has")
    building, final = stages("service.Dockerfile")
    # Not where pytest puts its folders: another user must be able to read this one, and /tmp is the container's own.
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pointsman-image-") as folder:
        Path(folder).chmod(0o755)
        image = Image(Path(folder), building, final)
        for name in ("bundles", "journal"):
            (image.root / "var/lib/pointsman" / name).mkdir(parents=True)
        if os.geteuid() == 0:
            os.chown(image.root / "var/lib/pointsman/journal", USER, USER)
        yield image


def _ask(url: str, body: object = None) -> tuple[int, dict]:
    data = None if body is None else msgspec.json.encode(body)
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, msgspec.json.decode(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, msgspec.json.decode(error.read())


def _until(condition, seconds=20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be in time"
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        return _ask(url)[0] == 200
    except OSError:
        return False


def test_service_runs_on_its_pinned_set_alone(image: Image, bundle_shelf: Path) -> None:
    app = image.root / "app"
    python = image.placed("python")

    probe = (
        "import importlib.util as u, sys\n"
        f"names = {BATCH_ONLY!r}\n"
        "there = [name for name in names if ('.' not in name or u.find_spec(name.split('.')[0])) and u.find_spec(name)]\n"
        "print(*there, 'pip' if u.find_spec('pip') else '')"
    )
    assert image.run([python, "-c", probe], cwd=app).split() == []
    assert not (app / "trainer").exists()
    kernels = "from service.policy import native; print(native.THERE)"
    assert image.run([python, "-c", kernels], cwd=app).strip() == "True"
    left = [path.name for path in app.rglob("*_native.*") if path.suffix != ".so"]
    assert left == []

    port = free_port()
    environment = image.environment(port)
    shelf = Path(environment["POINTSMAN_BUNDLES"])
    command = [image.placed(word) for word in image.final.last("CMD").words]
    url = f"http://127.0.0.1:{port}"
    with image.start(command, environment) as process:
        try:
            _until(lambda: _answers(f"{url}/health/live"))
            healthcheck = image.final.healthcheck
            image.run([image.placed(healthcheck[0]), *healthcheck[1:]], cwd=app, **environment)

            # Alive, but with nothing to decide with.
            assert _ask(f"{url}/health/ready")[0] == 503
            assert _ask(f"{url}/api/decisioning/auth", PAYMENT)[0] == 503

            # A bundle published while it runs.
            shutil.copytree(bundle_shelf, shelf, dirs_exist_ok=True, ignore=shutil.ignore_patterns("active"))
            shutil.copy(bundle_shelf / "active", shelf / "active")
            _until(lambda: _answers(f"{url}/health/ready"))
            status, answer = _ask(f"{url}/api/decisioning/auth", PAYMENT)
            assert status == 200
            assert answer["bundle_version"] == (bundle_shelf / "active").read_text().strip()
            assert answer["processor"] in {each["processor"] for each in answer["ranking"]}
            assert answer["degraded"] == []
            assert _ask(f"{url}/api/decisions/{answer['decision_id']}")[1]["decision"]["answer"] == answer
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0


def test_a_contained_process_is_nobody_and_writes_where_it_may(image: Image) -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    environment = image.environment(0)
    probe = (
        "import os, pathlib, sys\n"
        "assert (os.getuid(), os.getgid(), os.getgroups()) == (10001, 10001, [])\n"
        "for folder in sys.argv[1:]:\n"
        "    try:\n"
        "        pathlib.Path(folder, 'probe').write_text('x')\n"
        "        print('written')\n"
        "    except OSError as error:\n"
        "        print(error.strerror)"
    )
    folders = [environment["POINTSMAN_JOURNAL"], "/tmp", environment["POINTSMAN_BUNDLES"], str(image.root / "app")]
    with image.start([image.placed("python"), "-c", probe, *folders], environment) as process:
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert said.split("\n")[:4] == ["written", "written", "Read-only file system", "Read-only file system"]
    Path(environment["POINTSMAN_JOURNAL"], "probe").unlink()
