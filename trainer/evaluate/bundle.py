"""A bundle opened to be judged: its manifest, its graphs answering rows, and its policy, the service's own.

This module must not know what is asked of it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.bundle import Manifest
from features.catalog import FINGERPRINT
from service.policy.errors import PolicyError
from service.policy.policy import Policy
from service.policy.rules import Rules
from trainer.errors import BundleError
from trainer.fit.export import answers
from trainer.publish import shelf

ACTIVE: Final = "active"

Matrix = npt.NDArray[np.float32]
Answer = Callable[[Matrix], Matrix]


class Ready(NamedTuple):
    """An opened bundle.

    Attributes
    ----------
    manifest
        What it says of itself.
    answers
        Its trained models: rows of a model's own inputs, (n, inputs) float32, to probabilities, (n,) float32.
    policy
        Compiled from it.
    """

    manifest: Manifest
    answers: dict[str, Answer]
    policy: Policy

    @property
    def version(self) -> str:
        """Its version."""
        return self.manifest.version

    def prior(self, model: str, *keys: str) -> float:
        """Return the most specific prior there is, as the service takes it where a model cannot answer."""
        table = self.manifest.priors.get(model, {})
        for key in keys:
            if key in table:
                return table[key]
        return self.manifest.models[model].prior


def open_bundle(reference: str, folder: Path) -> Ready:
    """Open a bundle, its files proved unaltered.

    Parameters
    ----------
    reference
        A version on the shelf, the path of a bundle's folder, or "active".
    folder
        The shelf.

    Raises
    ------
    BundleError
        When there is none such, a file was altered, or it was made for other features.
    """
    place = Path(reference)
    version: str | None = reference
    if (place / shelf.MANIFEST).is_file():
        folder, version = place.resolve().parent, place.resolve().name
    elif reference == ACTIVE:
        version = shelf.active(folder)
    if version is None:
        msg = f"expected an active bundle in {folder}, none was activated"
        raise BundleError(msg)
    manifest = shelf.verify(folder, version)
    if manifest.feature_fingerprint != FINGERPRINT:
        msg = f"bundle {version} was made for the features {manifest.feature_fingerprint}, this is {FINGERPRINT}"
        raise BundleError(msg)
    graphs = {
        name: answers((folder / version / entry.file).read_bytes())
        for name, entry in manifest.models.items()
        if entry.file is not None
    }
    return compiled(manifest, graphs)


def compiled(manifest: Manifest, graphs: dict[str, Answer]) -> Ready:
    """Return a bundle of opened graphs with the policy of its manifest.

    Raises
    ------
    BundleError
        When the policy refuses its parameters.
    """
    try:
        return Ready(manifest, graphs, Policy.compile(manifest, Rules.load()))
    except (PolicyError, ValueError, msgspec.ValidationError) as error:
        msg = f"the policy of bundle {manifest.version} is not what was expected: {error}"
        raise BundleError(msg) from error
