"""The ways of routing that Pointsman is compared with; all of them retry by the one rule of `Baseline`.

None looks at fraud, at an amount or at fees: they rank processors by how often payments are approved there.
"""

from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Final

from benchmarks.policies.codes import ADVISED_WAIT_S, meaning
from benchmarks.policies.policy import Again, Send
from benchmarks.policies.stage import DAY_S, Stage
from benchmarks.policies.tail import Tail
from contracts.outcome import Outcome
from trainer.simulate.draws import uniform
from trainer.simulate.gateway import Attempt

WINDOW: Final = 125
HEDGED: Final = 0.05
ELIMINATION: Final = 20
"""Out when more than half of so many latest results were technical failures."""
GREED: Final = 0.1
_SEEN_OFTEN: Final = 60
_DRAW, _WHICH = 40, 41


class Baseline(ABC):
    """Routes by `order` and retries by a fixed rule.

    After a technical failure it tries the next best processor at once, after a soft decline the same question after 24 hours
    (later where the network advises so), where authentication is asked for it authenticates; each once in a payment's life.
    Never after a code that forbids it or asks for other data.
    """

    name = "baseline"

    def __init__(self, stage: Stage, tail: Tail) -> None:
        self.requests = stage.requests
        self.gateway = stage.gateway
        self.tail = tail
        self.draw: list[float] = uniform(stage.payments.key, 1, _DRAW).tolist()
        self.which: list[float] = uniform(stage.payments.key, 1, _WHICH).tolist()

    @abstractmethod
    def order(self, row: int, candidates: tuple[str, ...]) -> list[str]:
        """Return the candidates, best first."""

    def decide(self, row: int, at_us: int) -> Send | None:
        """Send every payment through the first in order."""
        return Send(self.order(row, self.gateway.candidates(row, at_us))[0])

    def retry(self, attempts: list[Attempt], at_us: int) -> Again | None:
        """Go by the fixed rule."""
        last = attempts[-1]
        request = self.requests[last.row]
        meanings = [meaning(request.card_network, each.code, each.advice) for each in attempts]
        what = meanings[-1]
        if what in meanings[:-1] or what in ("never", "fix_data"):
            return None
        ranked = self.order(last.row, self.gateway.candidates(last.row, at_us))
        before = self.gateway.names[last.processor]
        if what == "technical":
            return Again(next(name for name in ranked if name != before), 1.0)
        if what == "authenticate":
            there = request.initiator != "merchant" and not last.with_3ds
            return Again(before, 1.0, authenticate=True) if there else None
        return Again(ranked[0], float(max(DAY_S, ADVISED_WAIT_S.get(last.advice or "", 0))))

    def learn(self, attempt: Attempt, outcome: Outcome, at_us: int) -> None:  # noqa: B027  (some learn nothing)
        """Learn nothing."""


class Static(Baseline):
    """The shop's own order of preference."""

    name = "static order"

    def order(self, row: int, candidates: tuple[str, ...]) -> list[str]:
        """Return them as they are."""
        return list(candidates)


class Random(Baseline):
    """Any processor, all alike."""

    name = "random"

    def order(self, row: int, candidates: tuple[str, ...]) -> list[str]:
        """Return them turned round by chance."""
        turn = int(self.draw[row] * len(candidates))
        return [*candidates[turn:], *candidates[:turn]]


class BestOfSegment(Baseline):
    """The processor that history approved most often for the network and the shop's country, for good."""

    name = "best of segment"

    def order(self, row: int, candidates: tuple[str, ...]) -> list[str]:
        """Return them by their rate in the segment, in the network where the segment was seen too seldom."""
        request = self.requests[row]
        network, country = request.card_network, request.merchant_country or ""

        def rate(name: str) -> float:
            results, approved = self.tail.segments.get((name, network, country), (0, 0))
            if results < _SEEN_OFTEN:
                results, approved = self.tail.networks.get((name, network), (0, 0))
            return approved / results if results else 0.0

        return sorted(candidates, key=rate, reverse=True)


class Learning(Baseline):
    """What learns from outcomes per processor and network, and hedges: now and then another one than the best."""

    hedged = 0.0

    @abstractmethod
    def rate(self, name: str, network: str) -> float:
        """Return the rate of approvals as it is known now."""

    def out(self, name: str) -> bool:
        """Whether a processor is not to be used but for a hedge."""
        return False

    def order(self, row: int, candidates: tuple[str, ...]) -> list[str]:
        """Return them by their rate, those that are out last."""
        network = self.requests[row].card_network
        return sorted(candidates, key=lambda name: (self.out(name), -self.rate(name, network)))

    def decide(self, row: int, at_us: int) -> Send | None:
        """Send through the best, or for a hedge through any other."""
        ranked = self.order(row, self.gateway.candidates(row, at_us))
        if self.draw[row] < self.hedged:
            return Send(ranked[1 + int(self.which[row] * (len(ranked) - 1))])
        return Send(ranked[0])


class Window(Learning):
    """The open state of the art: success rates over a sliding window, hedging, elimination in an outage."""

    name = "window"
    hedged = HEDGED

    def __init__(self, stage: Stage, tail: Tail) -> None:
        super().__init__(stage, tail)
        self._windows: dict[tuple[str, str], deque[bool]] = defaultdict(lambda: deque(maxlen=WINDOW))
        for key, results in tail.latest.items():
            self._windows[key].extend(results[-WINDOW:])
        self._faults: dict[str, deque[bool]] = defaultdict(lambda: deque(maxlen=ELIMINATION))

    def rate(self, name: str, network: str) -> float:
        """Return the share of approvals in the window; a processor without one is as good as can be."""
        window = self._windows[name, network]
        return sum(window) / len(window) if window else 1.0

    def out(self, name: str) -> bool:
        """Whether more than half of its latest results were technical failures."""
        faults = self._faults[name]
        return len(faults) == ELIMINATION and sum(faults) * 2 > ELIMINATION

    def learn(self, attempt: Attempt, outcome: Outcome, at_us: int) -> None:
        """Push the result into its window."""
        name, network = self.gateway.names[attempt.processor], self.requests[attempt.row].card_network
        self._windows[name, network].append(outcome.status == "approved")
        technical = outcome.status != "approved" and meaning(network, outcome.response_code, None) == "technical"
        self._faults[name].append(technical)


class Greedy(Learning):
    """Epsilon-greedy: success rates of all time, one in ten by chance."""

    name = "epsilon-greedy"
    hedged = GREED

    def __init__(self, stage: Stage, tail: Tail) -> None:
        super().__init__(stage, tail)
        self._seen = {key: list(counts) for key, counts in tail.networks.items()}

    def rate(self, name: str, network: str) -> float:
        """Return the share of approvals ever; a processor without results is as good as can be."""
        results, approved = self._seen.get((name, network), (0, 0))
        return approved / results if results else 1.0

    def learn(self, attempt: Attempt, outcome: Outcome, at_us: int) -> None:
        """Count the result."""
        key = self.gateway.names[attempt.processor], self.requests[attempt.row].card_network
        seen = self._seen.setdefault(key, [0, 0])
        seen[0] += 1
        seen[1] += outcome.status == "approved"


BASELINES: Final[tuple[Callable[[Stage, Tail], Baseline], ...]] = (
    Static,
    Random,
    BestOfSegment,
    Window,
    Greedy,
)
"""What makes each."""
