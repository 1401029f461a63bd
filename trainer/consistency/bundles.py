"""The encodings of the bundles that decisions were made with."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from contracts.bundle import Manifest
from features.catalog import FINGERPRINT
from features.encoding import Encodings
from trainer.publish.shelf import MANIFEST


def encodings(folder: Path, versions: Iterable[str]) -> dict[str, Encodings]:
    """Return the encodings of each version that is found and was made for this catalog.

    Parameters
    ----------
    folder
        A bundle's own folder, or a shelf of bundles.
    versions
        Which bundles are asked for.
    """
    found: dict[str, Encodings] = {}
    for version in versions:
        for place in (folder / version, folder):
            manifest = _manifest(place / MANIFEST)
            if manifest is not None and manifest.version == version and manifest.feature_fingerprint == FINGERPRINT:
                found[version] = manifest.encodings
                break
    return found


def _manifest(file: Path) -> Manifest | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return None
