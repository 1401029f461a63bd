"""Several workers: started together, started again when one ends by itself, told together to stop.

The supervisor answers nothing and loads nothing: each worker is a process of its own, executed afresh. They hold the
other end of a pipe, and stop when it closes: none outlives its supervisor, however that ends.
This module must not know how a worker serves.
"""

import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

log: Final = logging.getLogger(__name__)

SETTLED_SECONDS: Final = 10.0
"""A worker that has lived so long is started again at once when it ends; else the wait doubles from time to time."""
FIRST_WAIT_SECONDS: Final = 0.1
LONGEST_WAIT_SECONDS: Final = 10.0
REFUSED: Final = 2
"""Exit code of a worker that cannot work with these settings at all."""
_GRACE_SECONDS: Final = 5.0


class Worker:
    """One worker: its process, and when to start it again.

    Attributes
    ----------
    number
        Its name among the others, from 0; its successor has the same.
    starts
        How often it was started.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.starts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.due = 0.0
        self._began = 0.0
        self._wait = FIRST_WAIT_SECONDS

    def start(self, command: Sequence[str], lifeline: int) -> None:
        """Start its process."""
        environment = {**os.environ, "POINTSMAN_WORKER": str(self.number)}
        arguments = [*command, "--restarts", str(self.starts), "--lifeline", str(lifeline)]
        # The command is this very program.
        self.process = subprocess.Popen(arguments, env=environment, pass_fds=(lifeline,))  # noqa: S603
        self.starts += 1
        self._began = time.monotonic()

    def ended(self) -> int | None:
        """Return the exit code of its process once it has ended, negative for a signal."""
        if self.process is None:
            return None
        code = self.process.poll()
        if code is not None:
            self.process = None
            now = time.monotonic()
            if now - self._began >= SETTLED_SECONDS:
                self._wait = FIRST_WAIT_SECONDS
            self.due = now + self._wait
            self._wait = min(2 * self._wait, LONGEST_WAIT_SECONDS)
        return code

    def kill(self) -> None:
        """End its process at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def tell(self, number: int) -> None:
        """Send its process a signal."""
        if self.process is not None:
            self.process.send_signal(number)


class Supervisor:
    """Keeps workers running.

    Parameters
    ----------
    workers
        How many.
    stop_seconds
        How long they may take to stop; one that takes longer is killed.
    command
        Program and arguments of a worker, without what tells one worker from another.
    """

    def __init__(self, workers: int, *, stop_seconds: float, command: Callable[[Path], Sequence[str]]) -> None:
        self._workers = [Worker(number) for number in range(workers)]
        self._stop_seconds = stop_seconds + _GRACE_SECONDS
        self._folder = Path(tempfile.mkdtemp(prefix="pointsman-"))
        self._command = command(self._folder)
        self._lifeline, self._end_of_lifeline = os.pipe()
        self._told: list[int] = []
        self._woken, self._wake = socket.socketpair()
        self._worst = 0

    def run(self) -> int:
        """Keep the workers running until told to stop; return the exit code."""
        self._listen_for_signals()
        try:
            while not self._told:
                self._start_those_due()
                self._sleep()
                if self._look() == REFUSED:
                    self._stop(signal.SIGTERM)
                    return REFUSED
            self._stop(self._told[0])
            log.info("all workers have stopped")
            return 1 if self._worst else 0
        finally:
            os.close(self._end_of_lifeline)
            os.close(self._lifeline)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _listen_for_signals(self) -> None:
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told_to_stop)
        signal.signal(signal.SIGHUP, self._told_to_reload)
        signal.signal(signal.SIGCHLD, _woken_up)

    def _told_to_stop(self, number: int, _frame: FrameType | None) -> None:
        self._told.append(number)

    def _told_to_reload(self, number: int, _frame: FrameType | None) -> None:
        for worker in self._workers:
            worker.tell(number)

    def _start_those_due(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if worker.process is None and worker.due <= now:
                worker.start(self._command, self._lifeline)

    def _sleep(self) -> None:
        """Sleep until a signal or until the next worker is to be started."""
        now = time.monotonic()
        waits = [max(0.0, worker.due - now) for worker in self._workers if worker.process is None]
        ready, _, _ = select.select([self._woken], [], [], min(waits, default=None))
        if ready:
            self._woken.recv(4096)

    def _look(self) -> int:
        """See which workers have ended; return `REFUSED` when one was refused by its settings at its very first start."""
        for worker in self._workers:
            code = worker.ended()
            if code is None:
                continue
            if code == REFUSED and worker.starts == 1:
                return REFUSED
            again = max(0.0, worker.due - time.monotonic())
            fields = {"ended": worker.number, "code": code, "again_in_seconds": round(again, 1)}
            log.error("a worker has ended by itself and is started again", extra={"fields": fields})
        return 0

    def _stop(self, number: int) -> None:
        """Tell all workers to stop and wait for them; kill those that take too long, or all when told at a keyboard again."""
        for worker in self._workers:
            worker.tell(number)
        until = time.monotonic() + self._stop_seconds
        while time.monotonic() < until and self._told.count(signal.SIGINT) < 2 and self._running():
            if select.select([self._woken], [], [], 0.5)[0]:
                self._woken.recv(4096)
        for worker in self._running():
            log.error("a worker does not stop and is killed", extra={"fields": {"killed": worker.number}})
            worker.kill()
            self._worst = 1

    def _running(self) -> list[Worker]:
        """Return the workers that still run, having noted how the others ended."""
        for worker in self._workers:
            code = worker.ended()
            self._worst = self._worst or code or 0
        return [worker for worker in self._workers if worker.process is not None]


def worker_command(folder: Path) -> list[str]:
    """Return the command of a worker whose supervisor has this private folder."""
    return [sys.executable, "-m", "service", "worker", "--folder", str(folder)]


def _woken_up(_number: int, _frame: FrameType | None) -> None:
    """A child has ended: the sleep is over, which is all."""
