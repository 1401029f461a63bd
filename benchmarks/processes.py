"""The processes that are measured: started on a free port of loopback, kept to a core, stopped by their own id.

This module must not know what is asked of them.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Final, Self
from urllib.request import urlopen

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 15.0


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a port of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def cores() -> tuple[set[int], set[int]]:
    """Return the cores of the server and of the client: the first one, and the others (the same one when it is alone)."""
    if not hasattr(os, "sched_getaffinity"):
        return set(), set()
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others) or {first}


def keep_to(pid: int, wanted: set[int]) -> None:
    """Keep a process (0: this one) to some cores, where the system can."""
    if wanted and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, wanted)


@contextlib.contextmanager
def on(wanted: set[int]) -> Iterator[None]:
    """Keep this thread, and what it starts meanwhile, to some cores, where the system can; none leaves it alone."""
    if not wanted or not hasattr(os, "sched_getaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, wanted)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Process:
    """One child process; leaving the context stops it.

    Parameters
    ----------
    command
        Program and arguments.
    environment
        Variables beside those of this process; ``POINTSMAN_`` variables of this process are not passed on.
    wanted
        Cores to keep it to; none leaves it alone.
    log
        File that takes what it writes; without one its standard error is this process's.
    folder
        Where it runs; without one where this process does.
    group
        Whether it leads a group of its own, so that stopping it stops what it started too.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        wanted: set[int] | None = None,
        log: Path | None = None,
        *,
        folder: Path | None = None,
        group: bool = False,
    ) -> None:
        self._log = log
        self._group = group
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")}
        variables = {**inherited, **(environment or {})}
        # Nobody but this module's callers chooses the command.
        with contextlib.ExitStack() as files:
            output = subprocess.DEVNULL if log is None else files.enter_context(log.open("ab"))
            errors = None if log is None else subprocess.STDOUT
            # On its cores before it runs, so that whatever it starts is there too.
            with on(wanted or set()):
                self._process = subprocess.Popen(  # noqa: S603
                    command, env=variables, stdout=output, stderr=errors, cwd=folder, start_new_session=group
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def check(self) -> None:
        """Raise ``RuntimeError``, with its last words where they were kept, when the process has ended by itself."""
        if self._process.poll() is not None:
            words = "" if self._log is None else f"; it wrote: {self._log.read_text(errors='replace')[-2000:]}"
            msg = f"{self._process.args!r} ended by itself with code {self._process.returncode}{words}"
            raise RuntimeError(msg)

    def stop(self) -> None:
        """Ask the process to end, and end it when it does not; of a group, end whatever is left of it."""
        self._process.terminate()
        try:
            self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


class WebServer(Process):
    """A process that answers HTTP, ready when ``path`` answers with a status of 2xx.

    Parameters
    ----------
    program
        A module of this environment, or a whole command.
    port, path
        Where it is asked whether it is ready.

    Attributes
    ----------
    ready_seconds
        From before it was executed until it said so.
    """

    def __init__(
        self,
        program: str | Sequence[str],
        port: int,
        path: str,
        environment: Mapping[str, str],
        wanted: set[int] | None = None,
        log: Path | None = None,
        *,
        folder: Path | None = None,
        group: bool = False,
        start_seconds: float = START_SECONDS,
    ) -> None:
        command = [sys.executable, "-m", program] if isinstance(program, str) else program
        began = time.monotonic()
        super().__init__(command, environment, wanted, log, folder=folder, group=group)
        self.url = f"http://127.0.0.1:{port}"
        until = began + start_seconds
        while True:
            try:
                with urlopen(self.url + path, timeout=1):  # noqa: S310  (loopback, written above)
                    self.ready_seconds = time.monotonic() - began
                    return
            # Whatever a server says that is only half there, it is not ready.
            except (OSError, HTTPException) as error:
                self._give_up(until, error)
            time.sleep(0.01)

    def _give_up(self, until: float, error: Exception) -> None:
        self.check()
        if time.monotonic() > until:
            self.stop()
            msg = f"{self.url} did not get ready in its time: {error}"
            raise RuntimeError(msg)


def service(
    shelf: Path,
    store: str,
    journal: str,
    sync: str,
    wanted: set[int] | None = None,
    *,
    workers: int = 1,
    keys: Path | None = None,
    log: Path | None = None,
) -> WebServer:
    """Start the service as it is started anywhere, ready to decide.

    Parameters
    ----------
    keys
        File of the keys that may ask; without one it is open, on loopback.
    """
    port = free_port()
    variables = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "BUNDLES": str(shelf),
        "STORE": store,
        "JOURNAL": journal,
        "JOURNAL_SYNC": sync,
        "LOG_LEVEL": "warning",
    }
    if workers > 1:
        variables["WORKERS"] = str(workers)
    if keys is not None:
        variables["KEYS"] = str(keys)
    environment = {f"POINTSMAN_{name}": value for name, value in variables.items()}
    return WebServer("service", port, "/health/ready", environment, wanted, log)


@contextlib.contextmanager
def running(settings: Mapping[str, str], *, log: Path, port: int | None = None) -> Iterator[tuple[str, int]]:
    """Start a service with these ``POINTSMAN_`` settings; yield its URL and process id once it is ready, then stop it."""
    port = port or free_port()
    environment = {**settings, "POINTSMAN_HOST": "127.0.0.1", "POINTSMAN_PORT": str(port)}
    with WebServer("service", port, "/health/ready", environment, log=log) as server:
        yield server.url, server.pid


def floor(recorded: Path, wanted: set[int] | None = None, *, models: bool) -> WebServer:
    """Start the bare ASGI app of `benchmarks.floor`, with the ONNX runs of a decision or without."""
    port = free_port()
    variables = {"FLOOR_PORT": str(port), "FLOOR_RECORD": str(recorded), "FLOOR_MODELS": "yes" if models else "no"}
    return WebServer("benchmarks.floor", port, "/health/ready", variables, wanted)


def redis_program() -> str | None:
    """Return the path of redis-server, or None when there is none."""
    return shutil.which("redis-server")


class Redis(Process):
    """A redis-server that keeps nothing on disk."""

    def __init__(self, wanted: set[int] | None = None) -> None:
        program = redis_program()
        if program is None:
            msg = "expected a redis-server on PATH"
            raise RuntimeError(msg)
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        self._folder = mkdtemp(prefix="pointsman-redis-")
        options = (
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--appendonly",
            "no",
            "--save",
            "",
            "--dir",
            self._folder,
        )
        super().__init__([program, *options], None, wanted)
        until = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            self.check()
            if time.monotonic() > until:
                self.stop()
                msg = f"redis-server did not get ready within {START_SECONDS:g} s"
                raise RuntimeError(msg)
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        super().stop()
        shutil.rmtree(self._folder, ignore_errors=True)
