"""One question, one answer: whoever asks again has the answer word for word, and nothing is counted or reserved.

Asked twice at once in one process, a question is answered once; asked again later, or of another process, its answer is in
the store. Another question about the same attempt is refused: two answers could send a payment twice.

This module must not know how an answer is found.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, TypeVar

from contracts.decision import Decision, RetryDecision
from contracts.event import AuthDecided, DecisionMade, RetryDecided, RoutingDecided
from contracts.payment import Payment
from service.answered import Answered, Kind, decode, differing, digest_of
from service.errors import AlreadyAsked, JournalUnavailable
from service.keep import Keeper
from service.ports import Journal
from service.question import Question

Answer = TypeVar("Answer", Decision, RetryDecision)

EVENTS: Final[dict[Kind, Any]] = {"auth": AuthDecided, "routing": RoutingDecided, "retry": RetryDecided}
"""The event of an answer, by the kind of its question."""


class _UnderWay:
    """A question that is being answered, and what is done once it is: made when somebody asks it again meanwhile."""

    __slots__ = ("request", "shared")

    def __init__(self, request: Payment) -> None:
        self.request = request
        self.shared: asyncio.Future[Any] | None = None


class Repeats:
    """Finds the answers that questions had before."""

    def __init__(self, journal: Journal, keeper: Keeper) -> None:
        self._journal = journal
        self._keeper = keeper
        self._under_way: dict[tuple[Kind, str, int], _UnderWay] = {}

    async def once(
        self,
        kind: Kind,
        request: Payment,
        deadline: float,
        find: Callable[[Kind, Payment, float], Awaitable[Answer]],
    ) -> Answer:
        """Return what `find` finds, or what it is finding already for the same question.

        Raises
        ------
        AlreadyAsked
            Another question about the same attempt was answered meanwhile.
        """
        key = (kind, request.payment_id, request.attempt)
        while (under_way := self._under_way.get(key)) is not None:
            if under_way.shared is None:
                under_way.shared = asyncio.get_running_loop().create_future()
            answer: Answer | None = await asyncio.shield(under_way.shared)
            if answer is None:
                # That one came to nothing; whoever waited for it asks for itself.
                continue
            if under_way.request != request:
                raise AlreadyAsked(differing(request, under_way.request))
            await self._note(kind, request, answer, deadline)
            return answer
        mine = self._under_way[key] = _UnderWay(request)
        found: Answer | None = None
        try:
            found = await find(kind, request, deadline)
            return found
        finally:
            del self._under_way[key]
            if mine.shared is not None:
                mine.shared.set_result(found)

    async def known(self, question: Question, content: bytes) -> Any:
        """Return the answer in `content`, which the store holds for a question; None when it cannot be read.

        Raises
        ------
        AlreadyAsked
            It answers another question about the same attempt.
        """
        kind, request, deadline = question.kind, question.request, question.deadline
        before = decode(kind, content)
        if before is None:
            return None
        if before.digest != digest_of(request):
            await self._compare(request, before, deadline)
        await self._note(kind, request, before.answer, deadline)
        return before.answer

    async def _compare(
        self, request: Payment, before: Answered[Decision] | Answered[RetryDecision], deadline: float
    ) -> None:
        """Refuse another question, naming the fields in which it differs where the journal still knows the first one."""
        event: DecisionMade | None = None
        try:
            async with asyncio.timeout((deadline - monotonic()) / 2):
                event = await self._journal.find(before.answer.decision_id)
        except (JournalUnavailable, TimeoutError):
            pass
        names = () if event is None else differing(request, event.request)
        if event is None or names:
            raise AlreadyAsked(names)
        # The same after all: it was digested by a build that knew fewer fields, or more.

    async def _note(self, kind: Kind, request: Payment, answer: Decision | RetryDecision, deadline: float) -> None:
        """Journal that an answer was given again. It is durable already: this must change nothing about it."""
        event = EVENTS[kind](decided_at=datetime.now(UTC), request=request, answer=answer, repeat=True)
        await self._keeper.journal(event, deadline)
