"""One bundle, verified and ready to decide with.

This module must not know which bundle is the active one.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from contracts.bundle import FORMAT, Manifest
from features.assemble import Unreadable, nobody
from features.catalog import FINGERPRINT, NAMES
from features.effects import Effects
from features.hierarchy import Rates
from features.native import Rows
from features.native import effects as ready
from features.native import plan as compiled
from service.errors import BundleRefused
from service.models.scorer import Scorer, load_models
from service.policy.errors import PolicyError
from service.policy.policy import Policy
from service.policy.rules import Rules

MANIFEST: Final = "manifest.json"


class Bundle(NamedTuple):
    """Everything one decision needs of a bundle, made ready once.

    `rates` is what is expected where no model can say, `effects` is by model what is added to its answers; `network` gives the
    name by which rules know a network.
    """

    manifest: Manifest
    plan: Rows
    scorer: Scorer
    policy: Policy
    processors: tuple[str, ...]
    rates: Rates | None
    effects: dict[str, Effects]
    network: Callable[[str], str]


def load(folder: Path, rules: Rules, unreadable: Unreadable = nobody) -> Bundle:
    """Verify a bundle and make it ready: files, checksums, fingerprint, golden rows, policy.

    Raises
    ------
    BundleRefused
        Saying what was expected and what was found; nothing is half loaded.
    """
    manifest = _manifest(folder)
    if manifest.format != FORMAT:
        raise BundleRefused(str(folder), f"expected format {FORMAT}, got {manifest.format}")
    if manifest.version != folder.name:
        # The pointer names the folder: under another name the two would never agree on which bundle is active.
        raise BundleRefused(str(folder), f"its manifest is that of version {manifest.version!r}")
    if manifest.feature_fingerprint != FINGERPRINT:
        reason = f"it was made for the features {manifest.feature_fingerprint}, this service has {FINGERPRINT}"
        raise BundleRefused(str(folder), reason)
    if manifest.features != NAMES:
        raise BundleRefused(str(folder), "its feature names are not those of the catalog, in order")
    missing = [name for name in ("approval", "risk", "routing", "retry") if name not in manifest.models]
    if missing:
        raise BundleRefused(str(folder), f"expected four models, {', '.join(missing)} missing from the manifest")
    _check_priors(folder, manifest)
    models = load_models(folder, manifest, _graphs(folder, manifest))
    try:
        plan = compiled(manifest.encodings, unreadable)
        policy = Policy.compile(manifest, rules)
        effects = {name: ready(entry.effects) for name, entry in manifest.models.items()}
    except (ValueError, PolicyError) as error:
        raise BundleRefused(str(folder), str(error)) from error
    rates = None if manifest.hierarchy is None else Rates(manifest.hierarchy)
    scorer, processors = Scorer(manifest, models), tuple(manifest.processors)
    return Bundle(manifest, plan, scorer, policy, processors, rates, effects, rules.network)


def _manifest(folder: Path) -> Manifest:
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        raise BundleRefused(str(folder), f"its {MANIFEST} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleRefused(str(folder), f"its {MANIFEST} is not a manifest: {error}") from error


def _check_priors(folder: Path, manifest: Manifest) -> None:
    """Refuse priors that are no probabilities: they answer when a model cannot, so nothing stands behind them."""
    rates = [(name, entry.prior) for name, entry in manifest.models.items()]
    rates += [(f"{name} of {key}", rate) for name, table in manifest.priors.items() for key, rate in table.items()]
    for name, rate in rates:
        if not 0.0 <= rate <= 1.0:
            raise BundleRefused(str(folder), f"expected priors of 0 to 1, {name} has {rate:g}")


def _graphs(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    graphs = {}
    for name, entry in manifest.models.items():
        if entry.file is None:
            continue
        if Path(entry.file).name != entry.file or not entry.file.isprintable():
            raise BundleRefused(str(folder), f"expected a file of its own for the {name} model, got {entry.file!r}")
        try:
            graph = (folder / entry.file).read_bytes()
        except OSError as error:
            raise BundleRefused(str(folder), f"{entry.file} cannot be read: {error.strerror}") from error
        found = hashlib.sha256(graph).hexdigest()
        if found != entry.sha256:
            reason = f"{entry.file} was altered: expected sha256 {entry.sha256}, got {found}"
            raise BundleRefused(str(folder), reason)
        graphs[name] = graph
    return graphs
