"""All peers and the service at work on one core, asked in turns, each held to its answers first.

This module must not know how the figures are shown.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from subprocess import CalledProcessError, TimeoutExpired
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple
from urllib.request import Request, urlopen

import msgspec
import redis

from benchmarks import processes, started, usage
from benchmarks.client import Seen
from benchmarks.material import FOLDER, kept_shelf, warm_states
from benchmarks.peers.catalogue import Peer, Place
from benchmarks.peers.environments import HOME, NotInstalled, built, versions
from benchmarks.peers.forest import STATE, TOLERANCE, Payment, make
from benchmarks.questions import requests
from benchmarks.results import Row, measured
from benchmarks.subjects import Subject

WARM_SECONDS: Final = 1.0
KIND: Final = "asked"
POINTSMAN: Final = "Pointsman, `{}`"
STORES: Final = ("redis://", "memory://")
_CHECKED: Final = 20
_ANSWER_SECONDS: Final = 10.0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One server.

    `rates` are the answers a second of each turn. `mib` is the resident memory of all its processes. `runs` is what its
    environment was asked for, with versions.
    """

    name: str
    does: str
    runs: tuple[str, ...]
    row: Row
    rates: tuple[float, ...]
    mib: float | None
    processes: int
    ready_seconds: float


class Absent(msgspec.Struct, frozen=True, kw_only=True):
    """A peer that could not be measured, and why."""

    name: str
    why: str


class _Up(NamedTuple):
    """One that runs and may be asked."""

    name: str
    does: str
    runs: tuple[str, ...]
    subject: Subject
    kind: str
    ready_seconds: float


class WrongAnswer(Exception):
    """A peer does not say what the forest says."""


def environments(peers: Sequence[Peer]) -> tuple[dict[str, Path], list[Absent]]:
    """Make every peer's environment, one after the other; return their programs by peer, and those that have none."""
    programs, absent = {}, []
    for peer in peers:
        try:
            say(f"the environment of {peer.name}")
            programs[peer.name] = built(peer.environment)
        except NotInstalled as error:
            absent.append(Absent(name=peer.name, why=str(error)))
    return programs, absent


def say(what: str) -> None:
    """Tell whoever waits."""
    print(f"peers: {what}", file=sys.stderr, flush=True)


async def measure(
    peers: Sequence[Peer], programs: dict[str, Path], *, connections: int, seconds: float, rounds: int
) -> tuple[list[Result], list[Absent], float | None]:
    """Start everything, measure it in turns, stop it.

    Returns
    -------
    tuple
        What was measured, what could not be, and the share of the servers' core that those used which were not asked.
    """
    absent: list[Absent] = []
    server_cores, client_cores = processes.cores()
    with ExitStack() as stack:
        FOLDER.mkdir(parents=True, exist_ok=True)
        scratch = Path(stack.enter_context(TemporaryDirectory(dir=FOLDER, prefix="peers-"))).absolute()
        forest = (HOME / "forest").absolute()
        say("fitting the forest")
        payments = make(forest)
        state = stack.enter_context(processes.Redis(client_cores))
        _fill(state.url, payments)
        up = _pointsman(stack, scratch, (server_cores, client_cores))
        for peer in peers:
            if peer.name not in programs:
                continue
            say(f"starting {peer.name}")
            folder = scratch / peer.environment
            folder.mkdir()
            place = Place(programs[peer.name], forest, folder, state.url, server_cores)
            try:
                up.append(_started(stack, peer, place, payments, state.pid))
            except (CalledProcessError, RuntimeError, OSError, TimeoutExpired, WrongAnswer) as error:
                absent.append(
                    Absent(name=peer.name, why=f"it did not start, or answer as the forest does: {_short(error)}")
                )
        with processes.on(client_cores):
            results, idle = await _turns(up, connections, seconds, rounds)
    return results, absent, idle


def _short(error: Exception) -> str:
    told = (
        error.stderr.decode(errors="replace") if isinstance(error, CalledProcessError) and error.stderr else str(error)
    )
    return " ".join(told.split())[-300:]


def _fill(url: str, payments: Sequence[Payment]) -> None:
    with redis.Redis.from_url(url) as client, client.pipeline(transaction=False) as pipeline:
        for payment in payments:
            for entity, columns in STATE.items():
                known = {str(column): payment.rows[0][column] for column in columns}
                pipeline.hset(payment.names[entity], mapping=known)
        pipeline.execute()


def _pointsman(stack: ExitStack, scratch: Path, cores: tuple[set[int], set[int]]) -> list[_Up]:
    shelf, world = kept_shelf(), list(warm_states())
    guarded = started.keys(scratch)
    up = []
    for store in STORES:
        say(f"starting Pointsman over {store}")
        folder = scratch / store.partition(":")[0]
        folder.mkdir()
        own = started.service(
            stack,
            shelf=shelf,
            store=store,
            journal="full",
            folder=folder,
            state=world,
            cores=cores,
            guarded=guarded,
        )
        asked = {"auth": requests("auth", "p", None if guarded is None else guarded.key)}
        subject = Subject(own.target, asked, own.server.pid, None if own.redis is None else own.redis.pid)
        does = "a whole decision: state of 22 entities, features, approval and risk, policy, reasons, journal synced"
        up.append(_Up(POINTSMAN.format(store), does, (), subject, "auth", own.server.ready_seconds))
    return up


def _started(stack: ExitStack, peer: Peer, place: Place, payments: Sequence[Payment], store: int) -> _Up:
    server = stack.enter_context(peer.start(place))
    for payment in payments[:_CHECKED]:
        _check(peer, server.url, payment)
    asked = {KIND: _questions(peer, payments)}
    uses_redis = peer.environment.endswith("redis")
    subject = Subject(started.target(server.url), asked, server.pid, store if uses_redis else None)
    return _Up(peer.name, peer.does, tuple(versions(peer.environment)), subject, KIND, server.ready_seconds)


def _check(peer: Peer, url: str, payment: Payment) -> None:
    body = json.dumps(peer.body(payment)).encode()
    asked = Request(url + peer.path, body, {"content-type": "application/json"})  # noqa: S310  (a peer on loopback)
    with urlopen(asked, timeout=_ANSWER_SECONDS) as answered:  # noqa: S310
        got = peer.probabilities(json.loads(answered.read()))
    if len(got) != len(payment.expected) or any(
        abs(one - other) > TOLERANCE for one, other in zip(got, payment.expected, strict=True)
    ):
        msg = f"expected {payment.expected}, got {got}"
        raise WrongAnswer(msg)


def _questions(peer: Peer, payments: Sequence[Payment]) -> Iterator[tuple[str, bytes]]:
    made = []
    for payment in payments:
        body = json.dumps(peer.body(payment), separators=(",", ":")).encode()
        head = (
            f"POST {peer.path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        made.append((KIND, head.encode() + body))
    return cycle(made)


async def _turns(up: Sequence[_Up], connections: int, seconds: float, rounds: int) -> tuple[list[Result], float | None]:
    for each in up:
        await each.subject.closed(each.kind, connections, WARM_SECONDS, Seen())
    seen = {each.name: Seen() for each in up}
    rates: dict[str, list[float]] = {each.name: [] for each in up}
    idle = lasted = 0.0
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for each in up:
            turn, others = Seen(), [one.subject for one in up if one is not each]
            before = sum(other.used()[0] for other in others)
            await each.subject.closed(each.kind, connections, seconds, turn)
            idle += sum(other.used()[0] for other in others) - before
            lasted += turn.seconds
            rates[each.name].append(round(turn.answered / turn.seconds, 1) if turn.seconds else 0.0)
            seen[each.name].add(turn)
    results = []
    for each in up:
        members = usage.family(each.subject.server) if each.subject.server is not None else []
        memory = [mib for member in members if (mib := usage.rss_mib(member)) is not None]
        results.append(
            Result(
                name=each.name,
                does=each.does,
                runs=each.runs,
                row=measured("closed", each.name, seen[each.name]),
                rates=tuple(rates[each.name]),
                mib=round(sum(memory), 1) if memory else None,
                processes=len(members),
                ready_seconds=round(each.ready_seconds, 2),
            )
        )
    return results, idle / lasted if lasted else None
