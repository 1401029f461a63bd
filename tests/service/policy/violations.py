"""Judges a log of attempts and answers by tables of its own: does anything in it break a rule?

It shares nothing with the policy but the meaning of words: its tables are written down anew from public descriptions of the
networks' rules, and it counts what was in fact sent, when it was in fact sent. So it finds what the policy's data, its
arithmetic or its bookkeeping got wrong.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from itertools import pairwise
from textwrap import wrap
from typing import Final, Literal, NamedTuple

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

Side = Literal["customer", "merchant"]
Ended = Literal["approved", "declined", "unknown"]
Class = Literal["never", "fix_data", "authenticate", "later", "technical", "unknown_outcome"]


class Attempt(NamedTuple):
    """One attempt that was sent: when (microseconds), of what, how, and what became of it.

    `number` counts the attempts of a payment from 1. An unknown outcome may be resolved later: `verified_at` is when.
    """

    moment: int
    card: str
    merchant: str
    network: str
    side: Side
    country: str
    amount: int
    payment: str
    number: int
    ended: Ended
    code: str | None = None
    advice: str | None = None
    three_ds: bool = False
    card_number: bool = False
    verified_at: int | None = None


class Answer(NamedTuple):
    """What was answered after an attempt that was not approved, and whether a retry was allowed."""

    moment: int
    attempt: Attempt
    verdict: str
    retries: bool


class Violation(NamedTuple):
    """A rule that was broken, by which payment's attempt, and how."""

    rule: str
    payment: str
    number: int
    detail: str


NEVER: Final = {
    "visa": {"04", "07", "12", "14", "15", "41", "43", "46", "57", "R0", "R1", "R3"},
    "*": {"04", "07", "14", "41", "43", "R0", "R1", "R3"},
}
FIX_DATA: Final = {"visa": {"54", "55", "82", "6P", "N7"}, "*": {"54", "55", "N7"}}
TECHNICAL: Final = {"91", "96", "19", "06"}
ISSUERS: Final = {"51", "61", "65", "05", "59"}
"""Declines in which the issuer is the cause: to be scheduled, not to be sent elsewhere at once."""
EUROPE: Final = frozenset(
    # The European Economic Area and Great Britain, two letters each.
    wrap("ATBEBGHRCYCZDKEEFIFRDEGRHUISIEITLVLILTLUMTNLNOPLPTROSKSIESSEGB", 2)
)
MAC_NEVER: Final = {"03", "21", "05", "22", "41", "42"}
MAC_HOURS: Final = {"02": 72, "24": 1, "25": 24, "26": 48, "27": 96, "28": 144, "29": 192, "30": 240}
HORIZON: Final = 30 * DAY
SOON: Final = MINUTE

Cap = tuple[str, int, int, bool, bool]
"""Name, most failed attempts, window in microseconds, of one amount only, since the last approval only."""


def caps_of(network: str, country: str, moment: int) -> list[Cap]:
    """Return the limits that hold for an attempt of that moment."""
    day = datetime.fromtimestamp(moment // SECOND, UTC).date()
    if network == "visa":
        most = 20 if day >= date(2025, 5, 25) else 15
        return [("visa_30_days", most, 30 * DAY, False, True)]
    if network == "mastercard":
        caps: list[Cap] = [("mastercard_24_hours", 10 if day >= date(2022, 10, 1) else 20, DAY, False, False)]
        if day >= date(2024, 4, 1):
            caps.append(("mastercard_30_days", 35, 30 * DAY, True, False))
            if country == "BR":
                caps.append(("mastercard_brazil", 7, 30 * DAY, True, False))
        return caps
    if network in ("amex", "discover", "elo"):
        return [(f"{network}_30_days", 20, 30 * DAY, False, True)]
    return []


def meaning(attempt: Attempt) -> tuple[Class, int]:
    """Return the class of an attempt that was not approved, and for how long its network wants no other (microseconds)."""
    if attempt.ended == "unknown":
        return "unknown_outcome", 0
    network, code, advice = attempt.network, attempt.code, attempt.advice
    if code in NEVER.get(network, NEVER["*"]):
        return "never", 0
    if network == "mastercard" and advice is not None:
        if advice in MAC_NEVER:
            return "never", 0
        if advice == "01":
            return ("authenticate" if code == "83" else "fix_data"), 0
        if advice == "04":
            return "fix_data", 0
        if advice in MAC_HOURS:
            return "later", MAC_HOURS[advice] * HOUR
    if code in FIX_DATA.get(network, FIX_DATA["*"]):
        return "fix_data", 0
    if (network == "visa" and code in ("1A", "70")) or (
        network == "mastercard" and code == "65" and attempt.country in EUROPE
    ):
        return "authenticate", 0
    return ("technical" if code in TECHNICAL else "later"), 0


def check(attempts: Iterable[Attempt], answers: Iterable[Answer] = ()) -> list[Violation]:
    """Return every rule that a log breaks."""
    ordered = sorted(attempts, key=lambda attempt: (attempt.moment, attempt.payment, attempt.number))
    found = _limits(ordered)
    payments: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in ordered:
        payments[attempt.payment].append(attempt)
    for sent in payments.values():
        found += _retries(sent)
    for answer in answers:
        found += _answer(answer)
    return found


def _limits(ordered: Sequence[Attempt]) -> list[Violation]:
    """Count failed attempts of a card at a merchant on a network, customers' and merchants' own apart."""
    found: list[Violation] = []
    ledgers: dict[tuple[str, str, str, Side], list[Attempt]] = defaultdict(list)
    for attempt in ordered:
        ledgers[attempt.card, attempt.merchant, attempt.network, attempt.side].append(attempt)
    for sent in ledgers.values():
        for place, attempt in enumerate(sent):
            if attempt.ended == "approved":
                continue
            for name, most, window, one_amount, resets in caps_of(attempt.network, attempt.country, attempt.moment):
                count = 0
                for other in reversed(sent[: place + 1]):
                    if other.moment <= attempt.moment - window or (resets and other.ended == "approved"):
                        break
                    if other.ended != "approved" and (not one_amount or other.amount == attempt.amount):
                        count += 1
                if count > most:
                    detail = f"{count} failed attempts where {most} are allowed"
                    found.append(Violation(name, attempt.payment, attempt.number, detail))
    return found


def _retries(sent: Sequence[Attempt]) -> list[Violation]:
    """Look at what followed each attempt of one payment."""
    found: list[Violation] = []
    numbers = [attempt.number for attempt in sent]
    for number in sorted(set(numbers)):
        if numbers.count(number) > 1:
            found.append(Violation("sent_twice", sent[0].payment, number, f"{numbers.count(number)} times"))
    for before, after in pairwise(sent):

        def broken(rule: str, detail: str, at: Attempt = after) -> None:
            found.append(Violation(rule, at.payment, at.number, detail))

        if before.ended == "approved":
            broken("approved_already", "sent after an approval")
            continue
        said, wait = meaning(before)
        waited = after.moment - before.moment
        if said == "unknown_outcome" and (before.verified_at is None or before.verified_at > after.moment):
            broken("unverified", "sent while the outcome before was unknown")
        elif said == "never":
            broken("never", f"sent after {before.code} {before.advice}")
        elif said == "fix_data" and not (before.advice == "04" and after.card_number):
            broken("fix_data", f"sent unchanged after {before.code} {before.advice}")
        elif said == "authenticate" and before.side == "merchant":
            broken("customer_absent", f"sent after {before.code}, which asks for the customer")
        elif said == "authenticate" and not after.three_ds:
            broken("unauthenticated", f"sent without 3DS after {before.code}")
        if waited < wait:
            broken("advised_wait", f"sent {waited / HOUR:.2f} h after advice {before.advice}")
        if said == "later" and before.code in ISSUERS and waited < SOON:
            broken("scheduled", f"sent {waited / SECOND:.0f} s after {before.code}, which the issuer decided")
        if after.moment - sent[0].moment > HORIZON:
            broken("horizon", f"sent {(after.moment - sent[0].moment) / DAY:.1f} days after the first attempt")
    return found


_ALLOWED: Final[dict[tuple[Class, Side], set[str]]] = {
    ("never", "customer"): {"stop", "verify_first"},
    ("never", "merchant"): {"stop", "verify_first"},
    ("fix_data", "customer"): {"fix_data", "stop", "verify_first"},
    ("fix_data", "merchant"): {"stop", "verify_first"},
    ("authenticate", "customer"): {"authenticate", "stop", "verify_first"},
    ("authenticate", "merchant"): {"stop", "verify_first"},
    ("unknown_outcome", "customer"): {"verify_first", "stop"},
    ("unknown_outcome", "merchant"): {"verify_first", "stop"},
}
"""Verdicts that fit a class. A used up quota stops anything; an attempt that the ledger knows to be approved is verified."""


def _answer(answer: Answer) -> list[Violation]:
    attempt = answer.attempt
    said, _ = meaning(attempt)
    found: list[Violation] = []
    allowed = _ALLOWED.get((said, attempt.side))
    token = said == "fix_data" and attempt.advice == "04"
    if allowed is not None and not token and answer.verdict not in allowed:
        detail = f"{answer.verdict} after {attempt.code} {attempt.advice} ({said})"
        found.append(Violation("verdict", attempt.payment, attempt.number, detail))
    if answer.retries != (answer.verdict in ("retry_now", "retry_later", "authenticate")):
        detail = f"{answer.verdict} with retries={answer.retries}"
        found.append(Violation("verdict", attempt.payment, attempt.number, detail))
    return found
