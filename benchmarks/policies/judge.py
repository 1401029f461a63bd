"""The judge: counts what a policy sent against the networks' rules, without asking the product what they are.

It goes by `codes`, and by the limits on failed attempts of a card at a merchant: at Visa 20 in 30 days, at Mastercard 10 in 24
hours and 35 of one amount in 30 days, elsewhere 20 in 30 days (a common default and nobody's rule), customers' and merchants'
attempts apart; an approval begins the count anew but for Mastercard. Nothing is sent later than 30 days after a payment's first
attempt, nor within a minute of a soft decline by the issuer. This module must not know a policy.
"""

from collections import defaultdict
from typing import Final, NamedTuple

import numpy as np

from benchmarks.policies.codes import ADVISED_WAIT_S, BY_ISSUER, SOON_S, Meaning, meaning
from benchmarks.policies.play import Played
from benchmarks.policies.stage import Stage
from trainer.simulate.facts import DAY_US, Array
from trainer.simulate.gateway import Attempt


class Limit(NamedTuple):
    """At most `most` failures in `window_us`, of one amount if `alike`, since the last approval if `resets`."""

    window_us: int
    most: int
    alike: bool = False
    resets: bool = False


HORIZON_US: Final = 30 * DAY_US
LIMITS: Final[dict[str, tuple[Limit, ...]]] = {
    "mastercard": (Limit(DAY_US, 10), Limit(HORIZON_US, 35, alike=True)),
    **dict.fromkeys(("visa", "amex", "discover"), (Limit(HORIZON_US, 20, resets=True),)),
}


class Seen(NamedTuple):
    """One attempt of a card at a merchant, as limits count it."""

    at_us: int
    approved: bool
    amount: int


_Key = tuple[str, str, str, bool]


class Judge:
    """Knows what one policy has sent of a stage, and says what it may send."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._seen: dict[_Key, list[Seen]] = defaultdict(list)
        self._counted: set[tuple[int, int]] = set()

    def saw(self, attempt: Attempt) -> None:
        """Take note of an attempt; told twice it counts once."""
        if (attempt.row, attempt.number) not in self._counted:
            self._counted.add((attempt.row, attempt.number))
            amount = self._stage.requests[attempt.row].amount_minor
            self._seen[self._key(attempt.row)].append(Seen(attempt.at_us, attempt.approved, amount))

    def meaning(self, attempt: Attempt) -> Meaning:
        """Return what the decline of an attempt means."""
        return meaning(self._stage.requests[attempt.row].card_network, attempt.code, attempt.advice)

    def least_wait_s(self, attempt: Attempt) -> int:
        """Return the seconds after a decline before which nothing is sent again."""
        advised = ADVISED_WAIT_S.get(attempt.advice or "", 0)
        scheduled = self.meaning(attempt) == "later" and attempt.code in BY_ISSUER
        return max(advised, SOON_S if scheduled else 0)

    def within_limits(self, row: int, at_us: int) -> bool:
        """Whether one more attempt at this time leaves every limit kept."""
        request = self._stage.requests[row]
        for limit in LIMITS.get(request.card_network, ()):
            start = at_us - limit.window_us
            seen = [each for each in self._seen.get(self._key(row), ()) if start < each.at_us < at_us]
            if limit.resets:
                start = max([each.at_us for each in seen if each.approved], default=start)
            failed = [
                each
                for each in seen
                if not each.approved and each.at_us > start and (not limit.alike or each.amount == request.amount_minor)
            ]
            if len(failed) >= limit.most:
                return False
        return True

    def allowed(self, attempts: list[Attempt], at_us: int, waits_s: Array) -> Array:
        """Return for each wait whether an attempt after the last of `attempts` keeps the rules, bool (waits,)."""
        last = attempts[-1]
        request = self._stage.requests[last.row]
        what = self.meaning(last)
        there = request.initiator != "merchant" and not last.with_3ds
        if what in ("never", "fix_data") or (what == "authenticate" and not there):
            return np.zeros(len(waits_s), dtype=bool)
        late: Array = waits_s >= self.least_wait_s(last)
        late &= at_us + waits_s * 1e6 - attempts[0].at_us <= HORIZON_US
        for place in np.flatnonzero(late):
            late[place] = self.within_limits(last.row, at_us + int(waits_s[place] * 1e6))
        return late

    def _key(self, row: int) -> _Key:
        request = self._stage.requests[row]
        return request.card_network, request.merchant_id, request.card_token, request.initiator == "merchant"


def violations(stage: Stage, played: Played) -> list[str]:
    """Return one sentence for each attempt of a policy that broke a rule."""
    judge = Judge(stage)
    found: list[str] = []
    ended = [attempt for row, chain in enumerate(played.chains) if row not in played.left for attempt in chain]
    for attempt in sorted(ended, key=lambda each: (each.at_us, each.row, each.number)):
        before = played.chains[attempt.row][attempt.number - 2] if attempt.number > 1 else None
        why = _broken(judge, played.chains[attempt.row][0], before, attempt)
        if why is not None:
            found.append(f"{stage.name} {stage.seed}: payment {attempt.row} attempt {attempt.number} {why}")
        judge.saw(attempt)
    return found


def _broken(judge: Judge, first: Attempt, before: Attempt | None, attempt: Attempt) -> str | None:
    if not judge.within_limits(attempt.row, attempt.at_us):
        return "goes beyond the network's limit"
    if before is None:
        return None
    what = judge.meaning(before)
    if what in ("never", "fix_data"):
        return f"follows code {before.code} advice {before.advice}, which forbids it ({what})"
    if what == "authenticate" and not attempt.with_3ds:
        return f"follows code {before.code} without the authentication it asks for"
    waited_s = (attempt.at_us - before.settled_us) / 1e6
    if waited_s < judge.least_wait_s(before):
        return f"comes {waited_s:.0f} s after code {before.code} advice {before.advice}: too soon"
    if attempt.at_us - first.at_us > HORIZON_US:
        return "comes more than 30 days after the first attempt"
    return None
