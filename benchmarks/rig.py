"""Everything a fault needs to be real: a service in its own process, real servers behind it, and folders that may fail.

This module must not know what is asked, nor what goes wrong.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks import processes
from benchmarks.client import Target
from benchmarks.material import kept_shelf
from service.models.active import POINTER
from tests.servers import RedisServer, free_port

JOURNAL_MB: Final = 48
"""Size of the small file system that a journal is put on to fill it."""


class NotHere(Exception):
    """What a fault needs and this machine does not have, in one sentence."""


class Rig:
    """One service, its store, its journal and its shelf.

    Parameters
    ----------
    folder
        For everything that is made.
    stack
        Ends it all.
    shelf
        With an active bundle, to be copied; None for the benchmarks' own.
    """

    def __init__(self, folder: Path, stack: ExitStack, shelf: Path | None = None) -> None:
        self.folder = folder
        self.stack = stack
        self.server_cores, self.client_cores = processes.cores()
        self.port = free_port()
        self.module = "service"
        self.settings: dict[str, str] = {}
        self.variables: dict[str, str] = {}
        self.journal = folder / "journal"
        self.shelf = folder / "shelf"
        self.redis: RedisServer | None = None
        self._service: processes.WebServer | None = None
        self._copy_shelf(kept_shelf() if shelf is None else shelf)
        stack.callback(self._stop_service)

    @property
    def target(self) -> Target:
        """Where the service is asked."""
        return Target("127.0.0.1", self.port)

    @property
    def url(self) -> str:
        """Where the service is asked, as a URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The service's process id."""
        assert self._service is not None
        return self._service.pid

    def start_redis(self, *options: str, primary: RedisServer | None = None) -> RedisServer:
        """Start a Redis beside the client, and make it the service's store unless there is one."""
        server = RedisServer(*options, primary=primary)
        self.stack.callback(server.stop)
        server.start()
        self.settle(server)
        if self.redis is None:
            self.redis = server
            self.settings.setdefault("STORE", server.url)
        return server

    def settle(self, server: RedisServer) -> None:
        """Keep a server to the client's cores."""
        assert server.process is not None
        processes.keep_to(server.process.pid, self.client_cores)

    def start_proxy(self) -> Callable[[float], None]:
        """Put a proxy between service and store; return what sets the milliseconds by which it holds replies back."""
        assert self.redis is not None
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.proxy", str(port), str(self.redis.port)]
        proxy = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603
        processes.keep_to(proxy.pid, self.client_cores)

        def stop() -> None:
            proxy.kill()
            proxy.wait()
            assert proxy.stdin is not None
            proxy.stdin.close()

        self.stack.callback(stop)
        self.settings["STORE"] = f"redis://127.0.0.1:{port}/0"

        def hold_back(milliseconds: float) -> None:
            assert proxy.stdin is not None
            proxy.stdin.write(b"%f\n" % milliseconds)
            proxy.stdin.flush()

        return hold_back

    def start_service(self) -> None:
        """Start the service, ready to decide."""
        settings = {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "BUNDLES": str(self.shelf),
            "BUNDLE_POLL_SECONDS": "0.25",
            "JOURNAL": str(self.journal),
            "LOG_LEVEL": "warning",
            **self.settings,
        }
        environment = {f"POINTSMAN_{name}": value for name, value in settings.items()} | self.variables
        # Server and client are told apart by their cores; what the service starts stays on the service's.
        self._service = processes.WebServer(
            self.module, self.port, "/health/ready", environment, self.server_cores, self.folder / "service.log"
        )

    def kill_service(self) -> None:
        """End the service's process at once, with whatever it has under way."""
        assert self._service is not None
        os.kill(self._service.pid, signal.SIGKILL)
        self._service.stop()
        self._service = None

    def workers(self) -> list[int]:
        """Return the process ids of the service's workers, where it has several."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(child) for child in children if b"worker" in Path(f"/proc/{child}/cmdline").read_bytes()]

    def log(self) -> str:
        """Return what the service wrote."""
        path = self.folder / "service.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def add_bundle(self, version: str, change: Callable[[Path], None]) -> Path:
        """Put a copy of the active bundle on the shelf under a version of its own, changed at will."""
        folder = self.shelf / version
        shutil.copytree(self.shelf / self.active, folder)
        manifest = folder / "manifest.json"
        manifest.write_text(manifest.read_text().replace(f'"{self.active}"', f'"{version}"', 1))
        change(folder)
        return folder

    @property
    def active(self) -> str:
        """The version that the shelf's pointer names."""
        return (self.shelf / POINTER).read_text().strip()

    def activate(self, version: str) -> None:
        """Let the pointer name a version, by one rename."""
        scratch = self.shelf / f".{POINTER}.new"
        scratch.write_text(version + "\n")
        scratch.replace(self.shelf / POINTER)

    def small_journal(self) -> None:
        """Put the journal on a small file system of its own.

        Raises
        ------
        NotHere
            When this process may not mount one.
        """
        program = shutil.which("mount")
        self.journal.mkdir(parents=True)
        command = [program or "mount", "-t", "tmpfs", "-o", f"size={JOURNAL_MB}m", "tmpfs", str(self.journal)]
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
        if done.returncode:
            msg = f"a small tmpfs for the journal needs the right to mount: {done.stderr.decode().strip()}"
            raise NotHere(msg)
        self.stack.callback(lambda: subprocess.run(["umount", "-l", str(self.journal)], check=True))  # noqa: S603, S607
        # Segments and a floor of free space that fit there.
        self.settings |= {"JOURNAL_SEGMENT_MIB": "8", "JOURNAL_FLOOR_MIB": "1"}
        # The service ends before its file system does.
        self.stack.callback(self._stop_service)

    def _copy_shelf(self, source: Path) -> None:
        version = (source / POINTER).read_text().strip()
        self.shelf.mkdir(parents=True)
        shutil.copytree(source / version, self.shelf / version)
        self.activate(version)

    def _stop_service(self) -> None:
        if self._service is not None:
            self._service.stop()
            self._service = None


def wait_for(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until something holds.

    Raises
    ------
    TimeoutError
        When it does not in time.
    """
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            msg = f"{what}: not within {seconds:g} s"
            raise TimeoutError(msg)
        time.sleep(0.01)


def figures(scrape: str) -> Mapping[str, float]:
    """Return the value of every series in a scrape, by its name with labels."""
    found = {}
    for line in scrape.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found
