"""Questions to the nodes of a Redis Cluster: each to the one that serves its slot, again and elsewhere while there is reason and
time.

Within the caller's time what was redirected is sent again to where it belongs, and a lost node is looked for anew. This module
must not know what the questions are about.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from redis.exceptions import (
    AskError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from service.errors import StoreTimeout, StoreUnavailable
from service.store.command import Arguments, in_full
from service.store.lane import Lane, sentence
from service.store.topology import Node, Reply, Topology

PAUSE_SECONDS: Final = 0.002
"""Between two tries of what cannot be had just now: keys on their way from one node to another, a lock that another holds."""

Question = str | Arguments
"""A key to read, or a command that writes."""


class Trips:
    """Round trips to the nodes of a cluster."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._closed = False

    def close(self) -> None:
        """Refuse whatever is asked from now on."""
        self._closed = True

    async def ask(self, questions: Sequence[tuple[int, Question]], until: float) -> list[Reply]:
        """Ask every question of the node that serves its slot until a moment of `time.monotonic`; return the replies.

        All questions are keys, or all are commands.
        """
        replies: list[Reply] = [None] * len(questions)
        pending: Sequence[int] = range(len(questions))
        while pending:
            if self._closed:
                msg = "it was closed"
                raise StoreUnavailable(msg)
            groups = await self._groups(questions, pending, until)
            answers = await self._ask(groups, questions, until)
            pending = []
            for (node, places), answer in zip(groups.items(), answers, strict=True):
                pending += await self._settle(node, places, answer, questions, replies, until)
        return replies

    async def _groups(
        self, questions: Sequence[tuple[int, Question]], places: Sequence[int], until: float
    ) -> dict[Node, list[int]]:
        """Return which questions go to which node."""
        groups: dict[Node, list[int]] = {}
        for place in places:
            node = self._topology.of(questions[place][0])
            if node is None:
                await self._topology.look(until)
                node = self._topology.of(questions[place][0])
            if node is None:
                msg = f"no node of the cluster is known to serve slot {questions[place][0]}"
                raise StoreUnavailable(msg)
            groups.setdefault(node, []).append(place)
        return groups

    async def _ask(
        self, groups: Mapping[Node, Sequence[int]], questions: Sequence[tuple[int, Question]], until: float
    ) -> list[list[Reply] | BaseException]:
        asks = []
        for node, places in groups.items():
            own = [questions[place][1] for place in places]
            lane: Lane[Any, list[Reply]] = node.reads if isinstance(own[0], str) else node.writes
            asks.append(lane.ask(own, until))
        return await asyncio.gather(*asks, return_exceptions=True)

    async def _settle(
        self,
        node: Node,
        places: Sequence[int],
        answer: list[Reply] | BaseException,
        questions: Sequence[tuple[int, Question]],
        replies: list[Reply],
        until: float,
    ) -> list[int]:
        """Take over what a node answered; return the questions that are to be asked again."""
        if isinstance(answer, StoreTimeout):
            self._topology.look_soon(node)
        if isinstance(answer, StoreUnavailable):
            return await self._found_anew(node, places, questions, answer, until)
        if isinstance(answer, BaseException):
            raise answer
        again: list[int] = []
        pause = None
        for place, reply in zip(places, answer, strict=True):
            if isinstance(reply, AskError) and not isinstance(reply, MovedError):
                reply = await self._elsewhere(node, reply, questions[place][1], until)
            if not isinstance(reply, ResponseError):
                replies[place] = reply
                continue
            again.append(place)
            if isinstance(reply, MovedError):
                self._topology.moved(reply.slot_id, reply.host or node.host, reply.port)
            elif isinstance(reply, ReadOnlyError):
                await self._found_anew(node, [place], questions, StoreUnavailable(sentence(reply)), until)
            elif isinstance(reply, TryAgainError | AskError):
                pause = reply
            elif not isinstance(reply, NoScriptError):
                self._topology.look_soon(node)
                raise StoreUnavailable(sentence(reply))
        await _rest(pause, until)
        return again

    async def _found_anew(
        self,
        node: Node,
        places: Sequence[int],
        questions: Sequence[tuple[int, Question]],
        error: StoreUnavailable,
        until: float,
    ) -> list[int]:
        """Look at the map without `node`; return what another one serves now, or raise what was wrong with this one."""
        await self._topology.look(until, node)
        if any(self._topology.of(questions[place][0]) in (node, None) for place in places):
            raise at_node(node, error) from None
        return list(places)

    async def _elsewhere(self, node: Node, asked: AskError, question: Question, until: float) -> Reply:
        """Ask the node to which a slot is just moving."""
        to = self._topology.node(asked.host or node.host, asked.port)
        command = ("MGET", question) if isinstance(question, str) else cast(Arguments, in_full(question))
        _, reply = await to.writes.ask((("ASKING",), command), until)
        return reply[0] if isinstance(question, str) and isinstance(reply, list) else reply


async def _rest(reason: ResponseError | None, until: float) -> None:
    """Wait a little, when there is a reason to."""
    if reason is not None:
        if time.monotonic() + PAUSE_SECONDS >= until:
            raise StoreUnavailable(sentence(reason)) from reason
        await asyncio.sleep(PAUSE_SECONDS)


def at_node(node: Node, error: StoreUnavailable) -> StoreUnavailable:
    """Return what was wrong, with the node it was wrong with."""
    return StoreUnavailable(f"{node}: {error.reason}")
