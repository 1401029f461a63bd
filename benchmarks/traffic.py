"""What is asked under a fault: payments of one shop, and the results of those that were answered.

Of five requests four are questions of auth and one reports how an earlier payment went. Every payment has an id of its own
and one attempt, so that what was kept can be counted. This module must not know how requests are sent.
"""

from collections import deque
from collections.abc import Iterator
from itertools import cycle
from typing import Any, Final

import msgspec

from benchmarks.caller import Call
from benchmarks.material import workload
from benchmarks.poison import POISON_MINOR
from service.http.decisions import PREFIX

_MARK: Final = "0" * 12
_TURN: Final = "zzzzzz"
_HOLDERS: Final = ("card_token", "customer_id", "device_id")
_OUTCOME_EVERY: Final = 5
_POISON_EVERY: Final = 10
_BEHIND: Final = 50
"""An outcome is of a payment answered so many payments ago: a gateway takes a while to hear."""


class Traffic:
    """Requests without end, and what came of each.

    Parameters
    ----------
    shop
        Id of the merchant: nobody else's.
    tag
        Head of the payment ids, two letters.
    turns_over
        Whether each pass through the workload has cards, customers and devices of its own. Else they come again and again, and
        what is known of each grows to its bound: hundreds of attempts of one card at one merchant.
    """

    def __init__(self, shop: str, tag: str, *, turns_over: bool = False) -> None:
        self.shop = shop
        self.poisoned = False
        """Whether one question in ten is about an amount that makes a model raise."""
        self.calls: list[Call] = []
        """All that is over, in the order in which it was."""
        self.payments: list[str] = []
        """Every payment asked about."""
        self._tag = tag
        self._number = 0
        self._answered: deque[tuple[str, str]] = deque()
        self._turns_over = turns_over
        self._pass_size = len(workload().auths)
        self._asked = 0
        self._auths = cycle([_template(shop, request, turns_over=turns_over) for request in workload().auths])
        self._poison = cycle([_template(shop, request, POISON_MINOR) for request in workload().auths[:20]])

    def next(self) -> Call:
        """Return the next request."""
        self._number += 1
        if self._number % _OUTCOME_EVERY == 0 and len(self._answered) > _BEHIND:
            payment, decision = self._answered.popleft()
            body = {"payment_id": payment, "kind": "authorisation", "status": "approved", "latency_ms": 640}
            if self._number % 2:
                body["decision_id"] = decision
            return Call("outcome", payment, _request("outcomes", msgspec.json.encode(body)))
        payment = f"{self._tag}{self._number:010d}"
        self.payments.append(payment)
        poisoned = self.poisoned and self._number % _POISON_EVERY == 1
        head, tail = next(self._poison if poisoned else self._auths)
        request = b"%b%b%b" % (head, payment.encode(), tail)
        if self._turns_over:
            request = request.replace(_TURN.encode(), b"%06d" % (self._asked // self._pass_size))
        self._asked += 1
        return Call("auth", payment, request)

    def told(self, call: Call) -> None:
        """Take what came of a request."""
        self.calls.append(call)
        if call.kind == "auth" and call.answer is not None and call.answer.processor is not None:
            self._answered.append((call.name, call.answer.decision_id))

    def during(self, begin: float, end: float) -> Iterator[Call]:
        """Yield what was due between two moments of `time.perf_counter`."""
        return (call for call in self.calls if begin <= call.due < end)


def _template(
    shop: str, message: Any, amount_minor: int | None = None, *, turns_over: bool = False
) -> tuple[bytes, bytes]:
    """Return the bytes of a question before and after its payment id."""
    members = {key: value for key, value in msgspec.to_builtins(message).items() if value is not None}
    members |= {"payment_id": _MARK, "merchant_id": shop}
    if turns_over:
        members |= {name: f"{_TURN}{members[name]}" for name in _HOLDERS if name in members}
    if amount_minor is not None:
        members["amount_minor"] = amount_minor
    before, after = _request("auth", msgspec.json.encode(members)).split(_MARK.encode())
    return before, after


def _request(path: str, body: bytes) -> bytes:
    head = (
        f"POST {PREFIX}/{path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
