"""Real parts of the service, put together: bundles made from one that was fitted, and a service without HTTP."""

import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from contracts.bundle import Manifest, ModelEntry
from contracts.payment import AuthRequest, Decline, RetryRequest, RoutingRequest
from service.decide import Decide
from service.journal import LogJournal
from service.learn import Learn
from service.models.active import ActiveBundles
from service.models.bundle import MANIFEST, Bundle
from service.policy.rules import Rules
from service.store import FeatureStore, open_store
from tests.servers import opened

RULES = Rules.load()


def same(manifest: Manifest) -> Manifest:
    return manifest


def activate(shelf: Path, version: str) -> None:
    """Point to a version whatever state it is in, by one rename."""
    scratch = shelf / f".active.{os.getpid()}"
    scratch.write_text(version + "\n")
    scratch.replace(shelf / "active")


def read_manifest(folder: Path) -> Manifest:
    return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))


def with_model(manifest: Manifest, name: str, **changes: Any) -> Manifest:
    entry: ModelEntry = msgspec.structs.replace(manifest.models[name], **changes)
    return msgspec.structs.replace(manifest, models={**manifest.models, name: entry})


def add_bundle(shelf: Path, source: Path, version: str, change: Callable[[Manifest], Manifest] = same) -> Path:
    """Put a copy of the active bundle of the shelf `source` on `shelf` under a version of its own, changed at will."""
    fitted = source / (source / "active").read_text().strip()
    folder = shelf / version
    shutil.copytree(fitted, folder)
    write_manifest(folder, change(msgspec.structs.replace(read_manifest(fitted), version=version)))
    return folder


def without(*names: str) -> Callable[[Manifest], Manifest]:
    """Return a change that leaves models untrained."""

    def change(manifest: Manifest) -> Manifest:
        for name in names:
            manifest = with_model(manifest, name, file=None, sha256=None, untrained_because="there was no data")
        return manifest

    return change


def exploring(share: float) -> Callable[[Manifest], Manifest]:
    def change(manifest: Manifest) -> Manifest:
        return msgspec.structs.replace(manifest, policy=msgspec.structs.replace(manifest.policy, exploration=share))

    return change


def eager(manifest: Manifest) -> Manifest:
    """A policy under which every permitted retry is worth making."""
    again = msgspec.structs.replace(manifest.policy.retry, minimum_probability=0.0, minimum_value_minor=-1e9)
    return msgspec.structs.replace(manifest, policy=msgspec.structs.replace(manifest.policy, retry=again))


class Parts(NamedTuple):
    """A service without HTTP."""

    bundles: ActiveBundles
    store: FeatureStore
    journal: LogJournal
    decide: Decide
    learn: Learn

    @property
    def bundle(self) -> Bundle:
        return self.bundles.current


def let_answer(parts: Parts, model: str, run: Callable[[Any, dict[str, Any]], Any]) -> None:
    """Let `run` answer in place of ONNX Runtime for a model, as for one that has no kernel."""
    changed: Any = parts.bundle.scorer._models[model]
    changed._kernel, changed._run = None, run


def let_kernel(parts: Parts, model: str, kernel: Any) -> None:
    """Let `kernel` answer for a model in place of its own, if it has one."""
    changed: Any = parts.bundle.scorer._models[model]
    changed._kernel, changed._run = kernel, None


@contextlib.asynccontextmanager
async def serving(
    shelf: Path,
    folder: Path,
    store: str | FeatureStore = "memory://",
    *,
    timeout_ms: float = 10.0,
    journal: LogJournal | None = None,
) -> AsyncIterator[Parts]:
    """Open a service over a shelf of bundles, with its journal in `folder`."""
    bundles = ActiveBundles(shelf, RULES)
    await bundles.refresh()
    assert bundles.failing is None
    kept = open_store(store, timeout_ms=timeout_ms) if isinstance(store, str) else store
    await opened(kept)
    journal = journal or LogJournal(folder)
    decide = Decide(bundles, kept, journal)
    try:
        yield Parts(bundles, kept, journal, decide, Learn(kept, journal, bundles, decide.settle))
    finally:
        await decide.close()
        await journal.close()
        await kept.close()


def soon(seconds: float = 5.0) -> float:
    """Return a deadline; a generous one unless a test is about time."""
    return time.monotonic() + seconds


PAYMENT: dict[str, Any] = {
    "payment_id": "pay_1",
    "merchant_id": "shop_1",
    "amount_minor": 4990,
    "currency": "EUR",
    "card_token": "tok_1",
    "card_bin": "411111",
    "card_network": "visa",
    "issuer_country": "DE",
}


def auth(**fields: Any) -> AuthRequest:
    return msgspec.convert({**PAYMENT, **fields}, AuthRequest)


def routing(**fields: Any) -> RoutingRequest:
    return msgspec.convert({**PAYMENT, **fields}, RoutingRequest)


def retry(processor: str, response_code: str | None = None, **fields: Any) -> RetryRequest:
    known = Decline.__struct_fields__
    decline = {name: fields.pop(name) for name in known if name in fields}
    decline |= {"processor": processor, "response_code": response_code}
    return msgspec.convert({**PAYMENT, **fields, "decline": decline}, RetryRequest)


Story = Callable[[Parts], Awaitable[None]]
Tell = Callable[[Story], None]


async def act(
    story: Story, shelf: Path, folder: Path, store: str | FeatureStore = "memory://", timeout_ms: float = 10.0
) -> None:
    """Tell a story to a service over `shelf`, whose journal is in ``folder/journal``."""
    async with serving(shelf, folder / "journal", store, timeout_ms=timeout_ms) as parts:
        await story(parts)


def is_probability(p: float) -> bool:
    return 0.0 < p < 1.0
