"""Which features are computed, with which encodings, and which columns of a history that takes.

This module must not know which engine computes them.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from contracts.bundle import Manifest
from features.catalog import CATALOG, FINGERPRINT
from features.encoding import Encodings
from features.entity import FIELDS, KINDS
from features.layout import LAYOUTS
from features.spec import FeatureSpec
from trainer.errors import BundleError
from trainer.history import SCHEMA
from trainer.publish.shelf import MANIFEST

IDENTITY: Final = ("payment_id", "attempt", "occurred_at")
"""What names an attempt, in every file that is written."""

ORDER: Final = ("occurred_at", "payment_id", "attempt")
"""The order of the rows that are written."""

PREFIX: Final = "f:"

EVENTS: Final = (
    "occurred_at",
    "amount_minor",
    "settled_at",
    "status",
    "card_network",
    "response_code",
    "chargeback_at",
)
"""What an attempt, its result and its chargeback add to a state is made of these columns."""


class Selection(NamedTuple):
    """Features in the order of the catalog, the encodings of the priors among them, and the priors left out."""

    specs: tuple[FeatureSpec, ...]
    encodings: Encodings
    left_out: tuple[str, ...]

    @property
    def own(self) -> tuple[FeatureSpec, ...]:
        """The features of an attempt's own columns."""
        return tuple(spec for spec in self.specs if spec.entity is None)

    @property
    def kinds(self) -> dict[str, tuple[FeatureSpec, ...]]:
        """The window features by kind of entity; a kind without any is not there."""
        found = {kind: tuple(spec for spec in self.specs if spec.entity == kind) for kind in KINDS}
        return {kind: specs for kind, specs in found.items() if specs}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the history that are read at all, in the history's order."""
        wanted = {*IDENTITY, *EVENTS, *(name for spec in self.own for name in spec.inputs)}
        for kind in self.kinds:
            wanted.update(event_columns(kind))
        return tuple(name for name in SCHEMA if name in wanted)


def event_columns(kind: str) -> tuple[str, ...]:
    """Return the columns of the history that the window features of one kind of entity are made of."""
    distinct = LAYOUTS[kind].distinct
    wanted = {*EVENTS, *FIELDS[kind], *(() if distinct is None else (distinct,))}
    return tuple(name for name in SCHEMA if name in wanted)


def feature_columns(specs: Iterable[FeatureSpec]) -> list[str]:
    """Return the columns that hold these features."""
    return [f"{PREFIX}{spec.name}" for spec in specs]


def select(bundle: Path | None, catalog: Iterable[FeatureSpec] = CATALOG) -> Selection:
    """Return everything of the catalog that an attempt of the past has.

    Features of scope "retry" belong to a retry that is only planned, and are left out. A prior needs its encoding, which
    only a bundle has.

    Parameters
    ----------
    bundle
        Folder of a bundle; None leaves the priors out.
    catalog
        What to choose from.

    Raises
    ------
    BundleError
        When the bundle cannot be read, or was made for other features.
    """
    asked = tuple(spec for spec in catalog if spec.scope != "retry")
    if bundle is None:
        kept = tuple(spec for spec in asked if spec.target is None)
        return Selection(kept, {}, tuple(spec.name for spec in asked if spec.target is not None))
    encodings = _encodings(bundle)
    missing = [spec.name for spec in asked if spec.target is not None and spec.name not in encodings]
    if missing:
        msg = f"expected an encoding for every prior feature in {bundle}, {', '.join(missing)} missing"
        raise BundleError(msg)
    return Selection(asked, encodings, ())


def _encodings(bundle: Path) -> Encodings:
    try:
        manifest = msgspec.json.decode((bundle / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        msg = f"expected the folder of a bundle, {bundle / MANIFEST} cannot be read: {error.strerror}"
        raise BundleError(msg) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"{bundle / MANIFEST} is not the manifest of a bundle: {error}"
        raise BundleError(msg) from error
    if manifest.feature_fingerprint != FINGERPRINT:
        msg = f"{bundle} was made for the features {manifest.feature_fingerprint}, this catalog is {FINGERPRINT}"
        raise BundleError(msg)
    return manifest.encodings
