"""``python -m service replay``: a decision made again from what is on record of it, and compared bit for bit.

The models answer again for the logged rows, the policy for what it was told; what came from outside (the moment, standings,
ledger, which model failed) is taken from the record. All of the answer must come out again but its id and its latency.

This module must not know a running service.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np

from contracts.audit import AuditTrail
from contracts.decision import Decision, RetryDecision
from contracts.event import AuthDecided, DecisionMade, RetryDecided, RoutingDecided
from contracts.inputs import PolicyInputs
from features.assemble import WIDTH, Matrix
from features.catalog import FINGERPRINT
from service import answer, explain
from service.answer import GIVEN_UP, Tail
from service.errors import BundleRefused, JournalUnavailable, ServiceError
from service.estimate import Estimates
from service.journal import find_in
from service.models.bundle import Bundle, load
from service.policy.errors import PolicyError
from service.policy.rules import Rules
from service.settings import Settings

SAME, DIFFERS, MISSING = 0, 1, 2
"""Exit codes."""

_FAILED: Final = ("model:", "_failed")


class Unreplayable(ServiceError):
    """A record that cannot be replayed: something it was made of is missing.

    Parameters
    ----------
    what
        What is missing: ``record``, ``bundle``, ``policy`` or ``vectors``.
    reason
        What was expected and what is there.
    """

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        self.reason = reason
        super().__init__(f"no {what} to replay with: {reason}")


def bundle_of(event: DecisionMade, shelf: Path, rules: Rules) -> Bundle:
    """Return the bundle that decided.

    Raises
    ------
    Unreplayable
        When it is not on the shelf, cannot be loaded, or decides otherwise under these rules.
    """
    version, policy_version = event.answer.bundle_version, event.answer.policy_version
    what = "bundle"
    if not version or Path(version).name != version or not (shelf / version).is_dir():
        reason = f"expected {version!r} on the shelf {shelf}"
        raise Unreplayable(what, reason)
    try:
        bundle = load(shelf / version, rules)
    except BundleRefused as error:
        raise Unreplayable(what, str(error)) from error
    if bundle.policy.policy_version != policy_version:
        what = "policy"
        reason = f"expected {policy_version}, with these rules it is {bundle.policy.policy_version}"
        raise Unreplayable(what, reason)
    return bundle


def replay(event: DecisionMade, bundle: Bundle) -> list[str]:
    """Make a decision again; return each difference, as a path and what is on record and what came out.

    Raises
    ------
    Unreplayable
        When the record lacks what it was made of.
    """
    if event.inputs is None:
        what, reason = "record", "it holds no inputs: it is a repeat, or of a build that kept none"
        raise Unreplayable(what, reason)
    made: Decision | RetryDecision
    if isinstance(event, RetryDecided):
        made, inputs = _retry(event, event.inputs, bundle)
    else:
        made, inputs = _payment(event, event.inputs, bundle)
    return [
        *_differences("", msgspec.to_builtins(event.answer), msgspec.to_builtins(made)),
        *_differences("inputs", msgspec.to_builtins(event.inputs), msgspec.to_builtins(inputs)),
    ]


def _payment(event: AuthDecided | RoutingDecided, known: PolicyInputs, bundle: Bundle) -> tuple[Decision, PolicyInputs]:
    """Make an auth or routing decision again."""
    request, recorded, rows = event.request, event.answer, _rows(event)
    kind: Literal["auth", "routing"] = "auth" if isinstance(event, AuthDecided) else "routing"
    estimates = Estimates(bundle, _silent(recorded))
    risk, at = estimates.risk(rows), known.moment_us
    ways = bundle.policy.variants(request, kind)
    variants = bundle.policy.needed(request, known.processors, ways, risk, kind=kind, at=at, ledger=known.ledger)
    approval = estimates.approval(kind, request, known.processors, variants, rows)
    inputs = msgspec.structs.replace(known, variants=variants, approval=approval, risk=risk)
    given_up = GIVEN_UP in recorded.reasons
    choice = answer.choose(bundle, kind, request, inputs, recorded.degraded, given_up=given_up)
    why = None
    if known.moved:
        groups, why = explain.of_payment(bundle, kind, request, inputs, estimates, choice)
        inputs = msgspec.structs.replace(inputs, moved=groups)
    return answer.decision(bundle, request, inputs, choice, why, _tail(recorded)), inputs


def _retry(event: RetryDecided, known: PolicyInputs, bundle: Bundle) -> tuple[RetryDecision, PolicyInputs]:
    """Make a retry decision again."""
    request, recorded = event.request, event.answer
    permitted = answer.permit(bundle, request, known.moment_us, known.ledger)
    waits = bundle.policy.waits(permitted) if known.processors else ()
    inputs = msgspec.structs.replace(known, variants=(), waits=waits, success=())
    estimates = None
    if waits:
        modes = bundle.policy.modes(request, permitted)
        estimates = Estimates(bundle, _silent(recorded))
        success = estimates.success(request, known.moment_us, known.processors, modes, waits, _rows(event))
        inputs = msgspec.structs.replace(inputs, variants=modes, success=success)
    given_up = GIVEN_UP in recorded.reasons
    choice = answer.plan(bundle, request, permitted, inputs, recorded.degraded, given_up=given_up)
    why = None
    if known.moved and estimates is not None:
        groups, why = explain.of_retry(bundle, inputs, estimates, choice)
        inputs = msgspec.structs.replace(inputs, moved=groups)
    return answer.retry_decision(bundle, request, choice, why, _tail(recorded)), inputs


def _tail(recorded: Decision | RetryDecision) -> Tail:
    return Tail(recorded.decision_id, recorded.degraded, recorded.latency_us)


def _silent(recorded: Decision | RetryDecision) -> list[str]:
    """Return the models that failed then: they are not asked now."""
    head, end = _FAILED
    return [code[len(head) : -len(end)] for code in recorded.degraded if code.startswith(head) and code.endswith(end)]


def _rows(event: DecisionMade) -> Matrix:
    """Return the logged rows."""
    what, vectors = "vectors", event.vectors
    if vectors is None:
        reason = "the decision was journalled without them (POINTSMAN_LOG_VECTORS)"
        raise Unreplayable(what, reason)
    if vectors.fingerprint != FINGERPRINT:
        reason = f"those on record are of the features {vectors.fingerprint}, this build has {FINGERPRINT}"
        raise Unreplayable(what, reason)
    count = max(1, len(vectors.processors))
    if len(vectors.rows) != 4 * count * WIDTH:
        reason = f"expected {count} rows of {WIDTH} features, got {len(vectors.rows)} bytes"
        raise Unreplayable(what, reason)
    return np.frombuffer(vectors.rows, dtype="<f4").astype(np.float32).reshape(count, WIDTH)


def _differences(path: str, recorded: Any, made: Any) -> Iterator[str]:
    """Yield where two plain values differ, to the last bit."""
    if isinstance(recorded, dict) and isinstance(made, dict):
        for name in sorted({*recorded, *made}):
            yield from _differences(f"{path}.{name}" if path else name, recorded.get(name), made.get(name))
    elif isinstance(recorded, list | tuple) and isinstance(made, list | tuple) and len(recorded) == len(made):
        for place, (one, two) in enumerate(zip(recorded, made, strict=True)):
            yield from _differences(f"{path}[{place}]", one, two)
    elif msgspec.json.encode(recorded) != msgspec.json.encode(made):
        yield f"{path}: on record {_shown(recorded)}, made again {_shown(made)}"


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple | dict):
        return f"{len(value)} items"
    return msgspec.json.encode(value).decode()


def event_of(record: str, journal: Path | None) -> DecisionMade:
    """Return the decision on record: in a file, on standard input ("-"), or by its id in a journal.

    Raises
    ------
    Unreplayable
        When there is none, or it cannot be read.
    """
    what = "record"
    if journal is not None:
        try:
            event = find_in(journal, record)
        except JournalUnavailable as error:
            raise Unreplayable(what, str(error)) from error
        if event is None:
            reason = f"the journal {journal} knows no decision of this id"
            raise Unreplayable(what, reason)
        return event
    try:
        content = sys.stdin.buffer.read() if record == "-" else Path(record).read_bytes()
        return msgspec.json.decode(content, type=AuditTrail).decision
    except OSError as error:
        reason = f"{record} cannot be read: {error.strerror}"
        raise Unreplayable(what, reason) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = f"expected the JSON of GET /api/decisions/{{id}}: {error}"
        raise Unreplayable(what, reason) from error


def main(arguments: Sequence[str]) -> int:
    """Replay one decision; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m service replay", description="Make a decision again and compare.")
    parser.add_argument(
        "record", help="file with the JSON of GET /api/decisions/{id}, - for standard input, or an id with --journal"
    )
    parser.add_argument("--journal", type=Path, help="folder of the journal that holds the decision")
    parser.add_argument("--shelf", type=Path, default=Settings().bundles, help="folder of bundles (%(default)s)")
    parser.add_argument("--rules", type=Path, help="rules of the shop, as POINTSMAN_RULES")
    chosen = parser.parse_args(arguments)
    try:
        event = event_of(chosen.record, chosen.journal)
        differences = replay(event, bundle_of(event, chosen.shelf, Rules.load(override=chosen.rules)))
    except (Unreplayable, PolicyError, OSError) as error:
        sys.stderr.write(f"pointsman: {error}\n")
        return MISSING
    sys.stdout.write("".join([f"{line}\n" for line in differences]) or "same\n")
    return DIFFERS if differences else SAME
