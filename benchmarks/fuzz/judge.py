"""What must hold of every answer, whatever was asked."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from benchmarks.fuzz.corpus import Case
from benchmarks.fuzz.target import Seen
from contracts.card_number import holds_number, is_number
from contracts.decision import Decision, RetryDecision
from contracts.outcome import OutcomeReceipt
from contracts.problem import Problem
from service.http.problems import REFUSALS

STATUSES: Final = frozenset({200, 400, 405, 409, 413, 415, 422})
_ANSWERS: Final = {"auth": Decision, "routing": Decision, "retry": RetryDecision, "outcomes": OutcomeReceipt}
_DECODERS: Final = {
    (kind, form): decoder(answer).decode
    for kind, answer in _ANSWERS.items()
    for form, decoder in (
        (b"application/json", msgspec.json.Decoder),
        (b"application/msgpack", msgspec.msgpack.Decoder),
    )
}
_PROBLEM: Final = msgspec.json.Decoder(Problem).decode
_REFUSALS: Final[dict[str, tuple[int, str]]] = {str(code): told for code, told in REFUSALS.items()}
_NO_REASON: Final = "the body does not match its contract"
_HUGE: Final = 10**30
_RUN: Final = re.compile(r"[0-9]+")


def complaint(case: Case, seen: Seen) -> str | None:
    """Return what is wrong with an answer, or None."""
    if seen.escaped is not None:
        return f"an exception escaped: {seen.escaped!r}"
    if case.gone and seen.messages == 0:
        return None
    if seen.status not in STATUSES:
        return f"status {seen.status}"
    if seen.messages != 2:
        return f"{seen.messages} messages make no answer"
    if int(seen.headers.get(b"content-length", b"-1")) != len(seen.body):
        return "content-length is not the length of the body"
    if seen.headers.get(b"x-content-type-options") != b"nosniff":
        return "a security header is missing"
    return _of_answer(case, seen) if seen.status == 200 else _of_refusal(seen)


def _of_answer(case: Case, seen: Seen) -> str | None:
    decode = _DECODERS.get((case.kind, seen.headers.get(b"content-type", b"")))
    if decode is None:
        return "the answer is in no form of the contract"
    try:
        answer = decode(seen.body)
    except (msgspec.MsgspecError, ValueError) as error:
        return f"the answer is not of the contract: {error}"
    if isinstance(answer, OutcomeReceipt) and not answer.results:
        return "a receipt without results"
    if isinstance(answer, Decision | RetryDecision) and "journal" in answer.degraded:
        return "the journal is off and was missed"
    if any(_is_card(value) for value in _scalars(case)):
        return "a card number was let in"
    return None


def _of_refusal(seen: Seen) -> str | None:
    if seen.headers.get(b"content-type") != b"application/problem+json":
        return "a refusal that is no problem"
    try:
        problem = _PROBLEM(seen.body)
    except (msgspec.MsgspecError, ValueError) as error:
        return f"the problem is not of the contract: {error}"
    known = _REFUSALS.get(problem.code)
    if known is None or known[0] != seen.status or problem.status != seen.status:
        return f"status {seen.status} does not go with the code {problem.code}"
    if problem.detail == _NO_REASON:
        return "it was refused without a reason"
    if not problem.path.startswith("$"):
        return "the path is none"
    if holds_number(seen.body.decode()):
        return "a card number came back"
    return None


def _scalars(case: Case) -> Iterator[str | int]:
    """Yield every string, key and whole number of a body that is plain, as another reader than the edge's own sees it."""
    packed = any(name == b"content-type" and b"msgpack" in value for name, value in case.headers)
    try:
        waiting = [msgspec.msgpack.decode(case.body) if packed else json.loads(case.body)]
    except (ValueError, RecursionError):
        return
    while waiting:
        value: Any = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str | int):
            yield value


def _is_card(value: str | int) -> bool:
    """Return whether a value is or holds a card number.

    The guard's own rule is asked, but of each value by itself: the guard clears most bodies by shorter ways. A plain run of
    digits is looked at without the rule, unless it is part of a random identifier.
    """
    text = value if isinstance(value, str) else str(value % _HUGE)
    if holds_number(text):
        return True
    whole = re.fullmatch(r"[0-9a-fA-F-]{24,}", text) is not None
    return not whole and any(is_number(run) for run in _RUN.findall(text))
