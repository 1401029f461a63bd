"""Journals made by hand: a policy that answers for itself, and outcomes of which the truth is known."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from contracts.bundle import PolicyParameters
from contracts.decision import Decision
from contracts.event import AuthDecided, JournalEvent, OutcomeSettled, RoutingDecided
from contracts.inputs import PolicyInputs
from contracts.outcome import Outcome
from contracts.payment import AuthRequest, RoutingRequest
from features.clock import micros
from service.ledger import entries
from service.policy.choice import Choice
from trainer.evaluate.bundle import Ready, compiled, open_bundle

START = datetime(2026, 3, 1, tzinfo=UTC)
PROCESSORS = ("atlas", "cobalt", "harbor", "northpay")
TRUE = {
    "visa": {"atlas": 0.95, "cobalt": 0.80, "harbor": 0.70, "northpay": 0.85},
    "mastercard": {"atlas": 0.60, "cobalt": 0.85, "harbor": 0.90, "northpay": 0.75},
}
"""What each processor approves of each network."""


class Told:
    """A journal in memory."""

    def __init__(self, events: Sequence[JournalEvent]) -> None:
        self._events = list(events)
        self.unreadable = 0
        self.decisions = sum(not isinstance(event, OutcomeSettled) for event in events)

    def events(self) -> Iterator[JournalEvent]:
        yield from self._events


def bundles(shelf: Path) -> tuple[str, str]:
    """Return the versions of the two bundles, the active one first."""
    active = (shelf / "active").read_text().strip()
    (other,) = [path.parent.name for path in shelf.glob("*/manifest.json") if path.parent.name != active]
    return active, other


def exploring(ready: Ready, share: float, floor: float) -> Ready:
    """Return a bundle whose policy explores so much."""
    parameters = msgspec.structs.replace(ready.manifest.policy, exploration=share, exploration_floor=floor)
    return compiled(msgspec.structs.replace(ready.manifest, policy=parameters), ready.answers)


def quiet(ready: Ready, **changes: Any) -> PolicyParameters:
    """Return a bundle's parameters, without exploration unless told otherwise."""
    return msgspec.structs.replace(ready.manifest.policy, **{"exploration": 0.0, "version": "quiet-1", **changes})


def request(number: int, chance: np.random.Generator, **fields: Any) -> AuthRequest:
    network = str(chance.choice(["visa", "mastercard"]))
    return msgspec.convert(
        {
            "payment_id": f"pay_{number}",
            "merchant_id": f"m{number % 5}",
            "merchant_country": "DE",
            "amount_minor": int(chance.integers(2_000, 20_000)),
            "currency": "EUR",
            "card_token": f"tok_{number}",
            "card_network": network,
            "issuer_country": str(chance.choice(["DE", "FR"])),
            "initiator": "customer",
            "uses_3ds": True,
            "processors": PROCESSORS,
            **fields,
        },
        AuthRequest,
    )


def toml(folder: Path, parameters: Any) -> Path:
    """Write policy parameters as a file."""
    known = msgspec.to_builtins(parameters)
    path = folder / "policy.toml"
    lines = [
        f"{name} = {msgspec.json.encode(value).decode()}"
        for name, value in known.items()
        if not isinstance(value, dict)
    ]
    for name, value in known.items():
        if isinstance(value, dict):
            lines += [f"[{name}]", *(f"{key} = {msgspec.json.encode(own).decode()}" for key, own in value.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


class Answered(NamedTuple):
    """One question with the choice that was made of it."""

    event: AuthDecided | RoutingDecided
    choice: Choice


def answered(
    ready: Ready,
    asked: AuthRequest,
    approval: Sequence[float],
    *,
    risk: float = 0.01,
    number: int = 0,
    keep: bool = True,
    kind: Any = "auth",
    degraded: tuple[str, ...] = (),
    ledger: bytes | None = None,
) -> Answered:
    """Let a bundle's policy answer a question for which its models said `approval` of each candidate."""
    now = START + timedelta(seconds=60 * number)
    variants = ready.policy.variants(asked, kind)
    table_of = tuple(tuple(float(p) for p in approval) for _ in variants)
    choice = ready.policy.choose(
        asked,
        PROCESSORS,
        table_of,
        risk,
        kind=kind,
        now=now,
        degraded=tuple(code for code in degraded if code != "journal"),
        variants=variants,
        ledger=entries(ledger),
    )
    answer = Decision(
        decision_id=f"d_{asked.payment_id}_{asked.attempt}",
        payment_id=asked.payment_id,
        attempt=asked.attempt,
        action=choice.action,
        approval_probability=choice.approval_probability or 0.0,
        risk_score=risk,
        risk_tier=choice.risk_tier,
        processor=choice.processor,
        ranking=choice.ranking,
        three_ds=choice.three_ds,
        exemption=choice.exemption,
        reasons=choice.reasons,
        degraded=degraded,
        bundle_version=ready.version,
        policy_version=ready.policy.policy_version,
        latency_us=100,
        liability=choice.liability,
        credential=choice.credential,
    )
    inputs = PolicyInputs(
        moment_us=micros(now), processors=PROCESSORS, variants=variants, approval=table_of, risk=risk, ledger=ledger
    )
    made: Any = AuthDecided if kind == "auth" else RoutingDecided
    mine: Any = asked if kind == "auth" else RoutingRequest(**msgspec.structs.asdict(asked))
    return Answered(made(decided_at=now, request=mine, answer=answer, inputs=inputs if keep else None), choice)


def outcome(event: AuthDecided | RoutingDecided, status: str, **fields: Any) -> OutcomeSettled:
    """Return what came of an attempt a second later, as the service took it."""
    result = fields.pop("result", "applied")
    known = {"payment_id": event.request.payment_id, "attempt": event.request.attempt, "status": status}
    told = msgspec.convert({**known, "processor": event.answer.processor, **fields}, Outcome)
    return OutcomeSettled(received_at=event.decided_at + timedelta(seconds=1), outcome=told, result=result)


class Month(NamedTuple):
    """A month of decisions: the events, and the questions with what is true of them."""

    events: list[JournalEvent]
    asked: list[AuthRequest]
    approval: list[list[float]]


def month(ready: Ready, count: int, seed: int) -> Month:
    """Return a month in which near equals are drawn often; what a processor truly approves follows its network."""
    chance = np.random.default_rng((seed, 99))
    told = Month([], [], [])
    for number in range(count):
        asked = request(number + count * seed, chance)
        said = (0.8 + 0.05 * chance.random(len(PROCESSORS))).tolist()
        made = answered(ready, asked, said, number=number)
        told.events.append(made.event)
        told.asked.append(asked)
        told.approval.append(said)
        if made.choice.processor is not None:
            won = chance.random() < TRUE[asked.card_network][made.choice.processor]
            told.events.append(outcome(made.event, "approved" if won else "declined"))
    return told


def truth(choices: Sequence[Choice], asked: Sequence[AuthRequest]) -> float:
    """Return what choices are truly worth, in approvals a question."""
    return float(
        np.mean(
            [
                0.0
                if choice.processor is None
                else sum(entry.propensity * TRUE[each.card_network][entry.processor] for entry in choice.ranking)
                for choice, each in zip(choices, asked, strict=True)
            ]
        )
    )


def active(shelf: Path) -> Ready:
    return open_bundle("active", shelf)
