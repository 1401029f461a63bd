"""Which bundle is active, and who made it so: the acts of an administrator, on the wire and on record.

This module must not know how a bundle becomes active.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from contracts.base import Record, Wire

BundleVersion = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+\-]*$",
        description="The version of a bundle: the name of its folder on the shelf.",
    ),
]


class ActivateRequest(Wire, frozen=True, kw_only=True):
    """Make a bundle of the shelf the active one."""

    version: BundleVersion


class RollbackRequest(Wire, frozen=True, kw_only=True):
    """Make the bundle active that was so before the present one. There is nothing to say."""


class Activation(Record, frozen=True, kw_only=True):
    """One act of making a bundle the active one, as it is remembered.

    `by` is who did it (a key, a token's subject or a user), `source` from where (an address, or a host's command line),
    `forwarded_for` what a proxy said of that, which nobody has checked. All are None in acts of before they were kept.
    """

    version: str
    at: datetime
    act: str
    before: str | None = None
    by: str | None = None
    source: str | None = None
    forwarded_for: str | None = None


class ActivationReceipt(Record, frozen=True, kw_only=True):
    """What is active now, and the act that made it so. Other instances follow the pointer, within a second or so."""

    active: str
    activation: Activation


class ActivationHistory(Record, frozen=True, kw_only=True):
    """The acts on record, newest first, a thousand at most; and what the pointer names now."""

    active: str | None
    activations: list[Activation]


AdminAct = Literal["activate", "rollback"]
"""What an administrator can do to the pointer."""
