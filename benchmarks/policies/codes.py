"""What declines mean, read from the networks' published tables once more, for who must not trust the product's own rules.

The judge counts violations by it, and the fixed rule of the baselines goes by it. It is kept apart from
``service/policy/rules`` on purpose: one mistake in both would have to be made twice. This module must not know a policy.

Sources: Visa Core Rules of 2026-04-18, table 7-2 (categories 1 to 4); Mastercard's merchant advice codes as acquirers publish
them; ISO 8583 data element 39 for other networks.
"""

from typing import Final, Literal

Meaning = Literal["never", "fix_data", "authenticate", "technical", "later"]

_NEVER: Final = {
    "visa": frozenset(["04", "07", "12", "14", "15", "41", "43", "46", "57", "R0", "R1", "R3"]),
    "mastercard": frozenset(["04", "07", "14", "41", "43", "R0", "R1", "R3"]),
}
_NEVER_ELSEWHERE: Final = frozenset(["04", "07", "14", "41", "43", "R0", "R1", "R3"])
_FIX_DATA: Final = {
    "visa": frozenset(["54", "55", "82", "6P", "N7"]),
    "mastercard": frozenset(["54", "55", "N7"]),
}
_FIX_DATA_ELSEWHERE: Final = frozenset(["54", "55", "N7"])
_TECHNICAL: Final = frozenset(["06", "19", "91", "96"])
_NEVER_ADVICE: Final = frozenset(["03", "21", "05", "22", "41", "42"])
_FIX_ADVICE: Final = frozenset(["01", "04"])
BY_ISSUER: Final = frozenset(["51", "61", "65", "05", "59"])
"""Soft declines in which the issuer is the cause: for a later moment, not for another try at once."""
SOON_S: Final = 60
ADVISED_WAIT_S: Final = {
    "02": 259_200,
    "24": 3_600,
    "25": 86_400,
    "26": 172_800,
    "27": 345_600,
    "28": 518_400,
    "29": 691_200,
    "30": 864_000,
}
"""Seconds after a decline with this advice before which Mastercard does not want to see the payment again."""


def meaning(network: str, code: str | None, advice: str | None) -> Meaning:
    """Return what a decline means for the next attempt; without a code it was technical, and has been looked into."""
    if network == "mastercard":
        if advice == "01" and code == "83":
            return "authenticate"
        if advice in _NEVER_ADVICE:
            return "never"
        if advice in _FIX_ADVICE:
            return "fix_data"
        if advice in ADVISED_WAIT_S:
            return "never" if code in _NEVER["mastercard"] else "later"
    if code is None or code in _TECHNICAL:
        return "technical"
    if code in _NEVER.get(network, _NEVER_ELSEWHERE):
        return "never"
    if code in _FIX_DATA.get(network, _FIX_DATA_ELSEWHERE):
        return "fix_data"
    if code == "1A" or (network == "mastercard" and code == "65"):
        return "authenticate"
    return "later"
