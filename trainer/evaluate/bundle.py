"""A bundle opened to be judged: its manifest, its graphs answering rows, and its policy, the service's own.

This module must not know what is asked of it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.bundle import Manifest
from contracts.payment import Payment
from features.catalog import FINGERPRINT, POSITION
from features.effects import Effects
from features.hierarchy import Rates
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
    rates
        What is expected where no model can say; None: its priors.
    effects
        By model, what is added to its answers.
    columns
        By model, where its inputs stand in the catalog's vector.
    """

    manifest: Manifest
    answers: dict[str, Answer]
    policy: Policy
    rates: Rates | None
    effects: dict[str, Effects]
    columns: dict[str, npt.NDArray[np.intp]]

    @property
    def version(self) -> str:
        """Its version."""
        return self.manifest.version

    def knows(self, processor: str) -> bool:
        """Tell whether the models have learnt of a processor."""
        return self.rates is None or self.rates.knows(processor)

    def expected(self, model: str, payment: Payment, processor: str) -> float:
        """Return the approval expected where the model cannot say, as the service does (``service.estimate``)."""
        if self.rates is not None:
            return self.rates.of(payment, processor).probability
        return self.prior(model, f"{processor}|{payment.card_network}", processor)

    def prior(self, model: str, *keys: str) -> float:
        """Return the most specific prior there is: the first of `keys` that is known, else the overall rate."""
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
        return Ready(
            manifest=manifest,
            answers=graphs,
            policy=Policy.compile(manifest, Rules.load()),
            rates=None if manifest.hierarchy is None else Rates(manifest.hierarchy),
            effects={name: Effects(entry.effects) for name, entry in manifest.models.items()},
            columns={
                name: np.array([POSITION[each] for each in manifest.models[name].inputs], dtype=np.intp)
                for name in graphs
            },
        )
    except (PolicyError, ValueError) as error:
        msg = f"the policy of bundle {manifest.version} is not what was expected: {error}"
        raise BundleError(msg) from error
