"""Which node of a Redis Cluster serves which slot, as the cluster last told, and the lanes to each node.

The map is learned from any node that answers ``CLUSTER SLOTS``: at the start, when a node is lost or redirects, and never
more often than every 50 ms. One look is under way at a time, and callers wait for it no longer than they have time. This
module must not know what is sent to a node.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from service.errors import StoreTimeout, StoreUnavailable
from service.store.command import Arguments, slot
from service.store.exchange import exchange, scripts
from service.store.lane import Ask, Lane, sentence
from service.store.wire import Wire, dial

SLOTS: Final = 16_384
_LOOK_SECONDS: Final = 0.3
"""How long one node may take to tell the map before another is asked."""
_REST_SECONDS: Final = 0.05

Reply = bytes | int | list[Any] | ResponseError | None
"""What a node said to one command, an error reply in its place."""

Reads = Lane[Sequence[str], list[Reply]]
Writes = Lane[Sequence[Arguments], list[Reply]]


async def _read(wire: Wire, asks: Sequence[Ask[Sequence[str], list[Reply]]]) -> None:
    """Read the keys of all asks in one go, each key once."""
    places: dict[str, int] = {}
    for ask in asks:
        for name in ask.question:
            places.setdefault(name, len(places))
    # One MGET for each, since each has a slot of its own: unlike GET it takes a key of another type for empty.
    replies = await exchange(wire, [("MGET", name) for name in places])
    values: list[Reply] = [reply[0] if isinstance(reply, list) else reply for reply in replies]
    for ask in asks:
        ask.give([values[places[name]] for name in ask.question])


async def _write(wire: Wire, asks: Sequence[Ask[Sequence[Arguments], list[Reply]]]) -> None:
    """Send the commands of all asks in one go."""
    replies = await scripts(wire, [command for ask in asks for command in ask.question])
    start = 0
    for ask in asks:
        ask.give(replies[start : start + len(ask.question)])
        start += len(ask.question)


class Node:
    """One primary: a lane to read and a lane to write, so that neither waits for the other."""

    __slots__ = ("connect", "host", "port", "reads", "writes")

    def __init__(
        self,
        host: str,
        port: int,
        connect: Callable[[], AbstractConnection],
        *,
        timeout: float,
        most_keys: int,
        most_commands: int,
    ) -> None:
        self.host = host
        self.port = port
        self.connect = connect
        self.reads: Reads = Lane(connect, _read, timeout=timeout, weigh=len, most=most_keys)
        self.writes: Writes = Lane(connect, _write, timeout=timeout, weigh=len, most=most_commands)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    async def close(self) -> None:
        """Drop both connections."""
        await self.reads.close()
        await self.writes.close()


class Topology:
    """The map of slots to nodes.

    Parameters
    ----------
    seeds
        Host and port of the nodes that are asked first.
    make
        Makes a node, without connecting it.
    """

    def __init__(self, seeds: Sequence[tuple[str, int]], make: Callable[[str, int], Node]) -> None:
        self._seeds = seeds
        self._make = make
        self._nodes: dict[tuple[str, int], Node] = {}
        self._slots: list[Node | None] = [None] * SLOTS
        self._look: asyncio.Task[None] | None = None
        self._looked = 0.0
        self._background: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def nodes(self) -> list[Node]:
        """Every node that serves a slot."""
        return list(self._nodes.values())

    def of(self, slot: int) -> Node | None:
        """Return the node that serves a slot; None when no node is known to."""
        return self._slots[slot]

    def tag_of(self, node: Node) -> str | None:
        """Return what puts a key into one of the slots that a node serves, some word in braces; None when it serves none."""
        if not any(serving is node for serving in self._slots):
            # The map changed since the node was taken from it, or was dropped: no word will do, and the search has no end.
            return None
        # One slot alone is found within 16,384 words on average; a node has thousands.
        return next(tag for tag in map("{{{}}}".format, count()) if self._slots[slot(tag)] is node)

    def node(self, host: str, port: int) -> Node:
        """Return the node at an address, which may be new."""
        known = self._nodes.get((host, port))
        if known is None:
            if self._closed:
                msg = "it was closed"
                raise StoreUnavailable(msg)
            known = self._nodes[host, port] = self._make(host, port)
        return known

    def moved(self, slot: int, host: str, port: int) -> None:
        """Note that a slot is served by another node now; the whole map is looked at in the background."""
        self._slots[slot] = self.node(host, port)
        self.look_soon()

    def look_soon(self, lost: Node | None = None) -> None:
        """Look at the map in the background, unless that is under way or was done just now."""
        if self._look is None and not self._closed and time.monotonic() - self._looked >= _REST_SECONDS:
            self._look = asyncio.get_running_loop().create_task(self._learn(lost))
            self._look.add_done_callback(self._looked_at)

    async def look(self, deadline: float, lost: Node | None = None) -> None:
        """Look at the map and wait for it; at once when that was done just now.

        Raises
        ------
        StoreUnavailable
            When no node tells; its cause is what the last one said.
        StoreTimeout
            When it takes longer than until `deadline` (`time.monotonic`).
        """
        self.look_soon(lost)
        look = self._look
        if look is None:
            return
        began = time.monotonic()
        done, _ = await asyncio.wait([look], timeout=max(0.0, deadline - began))
        if not done:
            raise StoreTimeout(round((time.monotonic() - began) * 1000, 3))
        if look.cancelled():
            msg = "it was closed"
            raise StoreUnavailable(msg)
        error = look.exception()
        if error is not None:
            raise error

    async def close(self) -> None:
        """Drop every connection. A second call does nothing."""
        self._closed = True
        tasks = [task for task in (self._look, *self._background) if task is not None]
        if self._look is not None:
            self._look.cancel()
        if tasks:
            await asyncio.wait(tasks)
        nodes, self._nodes = self.nodes, {}
        self._slots = [None] * SLOTS
        for node in nodes:
            await node.close()

    def _looked_at(self, look: "asyncio.Task[None]") -> None:
        self._look = None
        self._looked = time.monotonic()
        if not look.cancelled():
            # Whoever waits for it takes the error; in the background nobody does.
            look.exception()

    async def _learn(self, lost: Node | None) -> None:
        known = [(node.host, node.port) for node in self.nodes if node is not lost]
        places = list(dict.fromkeys([*known, *self._seeds, *([(lost.host, lost.port)] if lost is not None else [])]))
        trouble: Exception | None = None
        for host, port in places:
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    ranges = await self._ask(host, port)
            except (RedisError, OSError) as error:
                trouble = error
                continue
            self._take(ranges)
            return
        late = isinstance(trouble, TimeoutError) and not str(trouble)
        reason = f"no node told the slots within {_LOOK_SECONDS:g} s" if late else sentence(trouble or OSError())
        raise StoreUnavailable(reason) from trouble

    async def _ask(self, host: str, port: int) -> list[tuple[int, int, str, int]]:
        """Return first and last slot, host and port of each range a node knows of."""
        known = self._nodes.get((host, port))
        wire = await dial((known or self._make(host, port)).connect)
        try:
            (reply,) = await exchange(wire, [("CLUSTER", "SLOTS")])
        finally:
            wire.close()
        if isinstance(reply, ResponseError):
            raise reply
        ranges = []
        for first, last, (named, at, *_), *_ in reply:
            # A node that does not know its own address leaves it empty: it is the one that was asked.
            ranges.append((first, last, named.decode() if named and named != b"?" else host, at))
        if not ranges:
            msg = "CLUSTERDOWN no node serves a slot yet"
            raise ResponseError(msg)
        return ranges

    def _take(self, ranges: Sequence[tuple[int, int, str, int]]) -> None:
        slots: list[Node | None] = [None] * SLOTS
        for first, last, host, port in ranges:
            slots[first : last + 1] = [self.node(host, port)] * (last + 1 - first)
        self._slots = slots
        serving = {(host, port) for _, _, host, port in ranges}
        for place in [place for place in self._nodes if place not in serving]:
            self._run(self._nodes.pop(place).close())

    def _run(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
