"""A service of one's own: a real ``python -m service`` process on a free port, stopped by its process id.

For the demo, the load script and the tests; it listens on loopback only.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path


class ServiceDidNotStart(RuntimeError):
    """The process ended, or was not ready in time; the message ends with its last words."""


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def is_free(port: int) -> bool:
    """Tell whether nothing listens on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def running(
    settings: Mapping[str, str],
    *,
    port: int | None = None,
    log: Path,
    wait_seconds: float = 30.0,
    python: str = sys.executable,
    cores: set[int] | None = None,
) -> Iterator[tuple[str, int]]:
    """Start a service and yield its URL and process id once it is ready; stop it gracefully afterwards.

    Parameters
    ----------
    settings
        ``POINTSMAN_`` variables, beside the present environment's other variables.
    port
        Port on 127.0.0.1; a free one by default.
    log
        File that takes what the service writes.
    wait_seconds
        How long it may take until ``/health/ready`` says yes.
    python
        The interpreter of the environment to run in.
    cores
        Processor cores to keep the service on, where the system can.

    Raises
    ------
    ServiceDidNotStart
        With the end of its log.
    """
    port = port or free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")}
    environment |= {**settings, "POINTSMAN_HOST": "127.0.0.1", "POINTSMAN_PORT": str(port)}
    url = f"http://127.0.0.1:{port}"
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603  (our own module)
            [python, "-m", "service"], env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            if cores and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(process.pid, cores)
            _await_ready(process, url, log, wait_seconds)
            yield url, process.pid
        finally:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=5)


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path, wait_seconds: float) -> None:
    until = time.monotonic() + wait_seconds
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(f"{url}/health/ready", timeout=2).close()  # noqa: S310  (loopback)
            return
        time.sleep(0.02)
    last = log.read_text(errors="replace")[-2000:]
    state = "ended" if process.poll() is not None else "is not ready"
    msg = f"the service {state} after {wait_seconds:g} s at the most; it wrote: {last}"
    raise ServiceDidNotStart(msg)
