"""``python -m benchmarks.proxy PORT TO_PORT``: a TCP proxy on loopback that holds every reply back for a while.

How long, in milliseconds, is read from standard input, one number a line; it begins with none. It ends when its standard
input does.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Final

import uvloop

_CHUNK: Final = 65_536


class Proxy:
    """Connections passed on to one port; replies come later."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self.delay = 0.0
        """Seconds by which each piece of a reply is held back."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on, both ways, until either side ends it."""
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.close()
            return
        ways = [
            asyncio.create_task(self._pass(reader, far_writer, late=False)),
            asyncio.create_task(self._pass(far_reader, writer, late=True)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        far_writer.close()
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(_CHUNK):
            if late and self.delay:
                # In order: timers of one delay fire in the order in which they were set.
                loop.call_later(self.delay, _write, writer, data)
            else:
                writer.write(data)


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write what was held back, unless the connection ended meanwhile."""
    if not writer.is_closing():
        writer.write(data)


async def _run(port: int, to_port: int) -> None:
    proxy = Proxy(to_port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", port)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with server:
        while line := await commands.readline():
            proxy.delay = float(line) / 1000


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return the exit code."""
    port, to_port = map(int, argv if argv is not None else sys.argv[1:])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(port, to_port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
