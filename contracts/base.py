r"""The base of every wire struct and the constrained scalars they share.

Patterns are written for JSON Schema, where ``$`` is the end of the text. Python's ``$`` also matches before a last line
feed, so that these structs alone take ``"DE\n"``; the edge refuses it (`service.http.messages`), and a pattern with Python's
own ``\Z`` would be no valid schema. This module must not know any single message.
"""

from datetime import datetime
from typing import Annotated

import msgspec

from contracts.currency import EXPONENT


class Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything that comes in over a wire: immutable, keyword only, unknown fields refused."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what Pointsman itself writes and reads back: an older reader skips the fields of a newer writer."""


Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=128, description="An opaque identifier.")]
Name = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:\-]*$",
        description="A category of the shop's own: processor, segment, network, channel.",
    ),
]
Country = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2 code.")]
# What follows as `extra_json_schema` is looked at by the edge (`service.http.checks`): types alone cannot say it.
CurrencyCode = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Z]{3}$",
        description="ISO 4217 alphabetic code of an active currency.",
        extra_json_schema={"enum": sorted(EXPONENT)},
    ),
]
AmountMinor = Annotated[
    int,
    msgspec.Meta(ge=0, le=1_000_000_000_000, description="Money in integer minor units of its currency (cents)."),
]
Share = Annotated[float, msgspec.Meta(ge=0, le=1, description="A share or probability, 0 to 1.")]
Code = Annotated[str, msgspec.Meta(min_length=1, max_length=8, pattern=r"^[A-Za-z0-9]+$")]
Moment = Annotated[
    datetime,
    msgspec.Meta(
        tz=True,
        description="RFC 3339 time with an offset, of the years 1970 to 2199.",
        extra_json_schema={"pattern": r"^(19[7-9][0-9]|2[01][0-9]{2})-"},
    ),
]
LatencyMs = Annotated[int, msgspec.Meta(ge=0, le=600_000, description="Whole milliseconds.")]
