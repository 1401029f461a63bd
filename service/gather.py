"""One scrape for all workers: whichever of them is asked asks the others too, over sockets in the supervisor's folder.

Each sample gets a label ``worker``. One that does not answer in time is named, and the scrape goes on without it.
This module must not know what is counted.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

ANSWER_SECONDS: Final = 0.5
_UP: Final = b"pointsman_worker_up"


class Gather:
    """The figures of all workers, as any of them can tell them.

    Parameters
    ----------
    folder
        Private to the workers of one supervisor.
    worker, workers
        Which one this is, and how many there are.
    own
        Returns its own figures in the Prometheus text format.
    """

    def __init__(self, folder: Path, worker: int, workers: int, own: Callable[[], bytes]) -> None:
        self._folder = folder
        self._worker = worker
        self._workers = workers
        self._own = own
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Answer the others from now on."""
        path = self._path(self._worker)
        # A predecessor that was killed has left its socket behind.
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._answer, path)

    async def close(self) -> None:
        """Answer nobody any more."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path(self._worker).unlink(missing_ok=True)

    async def all(self) -> bytes:
        """Return the figures of all workers."""
        others = [number for number in range(self._workers) if number != self._worker]
        told = await asyncio.gather(*map(self._ask, others))
        found: dict[str, bytes | None] = dict(zip(map(str, others), told, strict=True))
        found[str(self._worker)] = self._own()
        return merged({number: found[number] for number in sorted(found, key=int)})

    async def _ask(self, number: int) -> bytes | None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self._path(number))
                try:
                    told = await reader.read(-1)
                    # What is cut short ends in the midst of a line.
                    return told if told.endswith(b"\n") else None
                finally:
                    writer.close()
        return None

    async def _answer(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            writer.write(self._own())
            async with asyncio.timeout(ANSWER_SECONDS):
                await writer.drain()
        writer.close()

    def _path(self, number: int) -> Path:
        return self._folder / f"worker-{number}"


def merged(texts: Mapping[str, bytes | None]) -> bytes:
    """Return the texts of several workers as one, each sample labelled with its worker; None stands for one that is gone."""
    families: dict[bytes, tuple[list[bytes], list[bytes]]] = {}
    for worker, text in texts.items():
        label = b'worker="%b"' % worker.encode()
        samples: list[bytes] = []
        for line in (text or b"").splitlines():
            if line.startswith(b"# "):
                name = line.split(b" ", 3)[2]
                about, samples = families.setdefault(name, ([], []))
                if line not in about:
                    about.append(line)
            elif line:
                samples.append(_labelled(line, label))
    up = [b'%b{worker="%b"} %d' % (_UP, worker.encode(), text is not None) for worker, text in texts.items()]
    families[_UP] = ([b"# HELP %b Whether a worker told its figures." % _UP, b"# TYPE %b gauge" % _UP], up)
    return b"".join(line + b"\n" for about, samples in families.values() for line in (*about, *samples))


def _labelled(line: bytes, label: bytes) -> bytes:
    name, brace, rest = line.partition(b"{")
    if brace and b" " not in name:
        return b"%b{%b,%b" % (name, label, rest)
    name, _, value = line.partition(b" ")
    return b"%b{%b} %b" % (name, label, value)
