"""What sort of decline a response code is: the class whose share is a feature.

The key is network and code, for the same code means different things on different networks. The classes are those of the
policy's rules, coarser and without dates: a feature must mean in training what it means online, whatever rule is in force
today. Sources: Visa Core Rules (2026-04-18, table 7-2) for Visa's category 1, Mastercard's merchant advice and ISO 8583
field 39 for the rest, as collected in the project's rule data (``service/policy/rules/``).
"""

from typing import Final

CLASSES: Final[dict[tuple[str, str], str]] = {
    **dict.fromkeys((("*", code) for code in ("04", "07", "14", "41", "43", "R0", "R1", "R3")), "never"),
    **dict.fromkeys((("visa", code) for code in ("12", "15", "46", "57")), "never"),
    **dict.fromkeys((("*", code) for code in ("54", "55", "N7")), "fix_data"),
    **dict.fromkeys((("visa", code) for code in ("82", "6P")), "fix_data"),
    ("*", "70"): "authenticate",
    ("*", "1A"): "authenticate",
    ("mastercard", "65"): "authenticate",
    **dict.fromkeys((("*", code) for code in ("51", "61", "65")), "funds"),
    **dict.fromkeys((("*", code) for code in ("06", "19", "91", "96")), "technical"),
}
"""Class by network ("*" for any) and response code; a code that is not here has none."""

ANY: Final = "*"


def decline_class(network: str | None, code: str | None) -> str | None:
    """Return the class of a response code: never, fix_data, authenticate, funds, technical, or None for all others.

    >>> decline_class("mastercard", "65"), decline_class("visa", "65"), decline_class("visa", "05")
    ('authenticate', 'funds', None)
    """
    if code is None:
        return None
    return CLASSES.get((network or ANY, code)) or CLASSES.get((ANY, code))
