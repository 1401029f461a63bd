"""What is loaded: a server on loopback that is asked in turns with others, and what it used of the processors meanwhile.

This module must not know what is asked, nor what the server is.
"""

from typing import NamedTuple

from benchmarks import usage
from benchmarks.client import Requests, Seen, Target, closed_loop, open_loop


class Subject(NamedTuple):
    """One server.

    Attributes
    ----------
    target
        Where it listens.
    requests
        What it is asked, by kind; without end.
    server, store
        Process ids of it and of the Redis it uses; None where it is not ours to look at.
    """

    target: Target
    requests: dict[str, Requests]
    server: int | None = None
    store: int | None = None

    async def closed(self, kind: str, connections: int, seconds: float, seen: Seen) -> None:
        """Ask as fast as it answers; see `client.closed_loop`."""
        before = self.used()
        await closed_loop(self.target, self.requests[kind], connections, seconds, seen)
        self.account(seen, before)

    async def open(self, kind: str, connections: int, seconds: float, rate: float, seen: Seen) -> None:
        """Ask at a fixed rate; see `client.open_loop`."""
        before = self.used()
        await open_loop(self.target, self.requests[kind], connections, seconds, rate, seen)
        self.account(seen, before)

    def used(self) -> tuple[float, float]:
        """Return the processor seconds of the server and of its store so far."""
        return (
            0.0 if self.server is None else usage.cpu_seconds(self.server),
            0.0 if self.store is None else usage.cpu_seconds(self.store),
        )

    def account(self, seen: Seen, before: tuple[float, float]) -> None:
        """Add to `seen` what was used since `before`."""
        server, store = self.used()
        seen.server_seconds += server - before[0]
        seen.store_seconds += store - before[1]
