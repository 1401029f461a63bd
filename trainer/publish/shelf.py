"""The shelf of bundles: a folder with one folder per version, and an ``active`` file that names the one in use.

A bundle appears by one rename and is never changed afterwards. How the pointer moves, and how that is remembered, is
`service.shelf`'s, because administrators move it over HTTP too.

This module must not know what is in a bundle beyond its manifest and the checksums of its files.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from contracts.activation import Activation, AdminAct
from contracts.bundle import Manifest
from service import acts
from service import shelf as pointer
from trainer.errors import BundleError

MANIFEST: Final = "manifest.json"
ACTIVE: Final = pointer.POINTER
ACTIVATIONS: Final = pointer.ACTIVATIONS


def sha256(content: bytes) -> str:
    """Return the hex digest that a manifest carries for a file."""
    return hashlib.sha256(content).hexdigest()


def prepare(shelf: Path) -> None:
    """Make sure that bundles can be put on this shelf, before hours go into making one.

    Raises
    ------
    BundleError
        When it is not a folder, or cannot be written.
    """
    probe = shelf / f".probe.{os.getpid()}"
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        msg = f"bundles cannot be written to {shelf}: {error.strerror or error}"
        raise BundleError(msg) from error


def publish(shelf: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Path:
    """Write a bundle and return its folder. It is there whole, or not at all.

    Raises
    ------
    BundleError
        When a bundle of this version is there already, or the shelf cannot be written.
    """
    target = shelf / manifest.version
    scratch = shelf / f".{manifest.version}.{os.getpid()}"
    if target.exists():
        msg = f"a bundle {manifest.version} is on the shelf {shelf} already; bundles are never overwritten"
        raise BundleError(msg)
    try:
        # A process of this number that was killed may have left its own.
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        for name, content in files.items():
            _write(scratch / name, content)
        _write(scratch / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        _sync_folder(scratch)
        scratch.rename(target)
        _sync_folder(shelf)
    except OSError as error:
        shutil.rmtree(scratch, ignore_errors=True)
        msg = f"the bundle cannot be written to {shelf}: {error.strerror or error}"
        raise BundleError(msg) from error
    return target


def read(shelf: Path, version: str) -> Manifest:
    """Return the manifest of a version.

    Raises
    ------
    BundleError
        When there is none, or it cannot be read.
    """
    path = shelf / version / MANIFEST
    if not version or Path(version).name != version:
        msg = f"expected a version in {shelf}, got {version!r}; there are: {', '.join(versions(shelf)) or 'none'}"
        raise BundleError(msg)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        msg = f"expected a bundle {version!r} in {shelf}; there are: {', '.join(versions(shelf)) or 'none'}"
        raise BundleError(msg) from error
    except (OSError, msgspec.DecodeError) as error:
        msg = f"the manifest of bundle {version} cannot be read: {error}"
        raise BundleError(msg) from error


def versions(shelf: Path) -> list[str]:
    """Return the versions on the shelf, oldest first."""
    return sorted(path.parent.name for path in shelf.glob(f"*/{MANIFEST}") if not path.parent.name.startswith("."))


def active(shelf: Path) -> str | None:
    """Return the active version, or None when none was activated yet."""
    return pointer.active(shelf)


def verify(shelf: Path, version: str) -> Manifest:
    """Return the manifest of a version whose files are all there and unaltered.

    Raises
    ------
    BundleError
        Naming the file that is missing or altered.
    """
    manifest = read(shelf, version)
    for name, entry in manifest.models.items():
        if entry.file is None:
            continue
        path = shelf / version / entry.file
        if not path.is_file():
            msg = f"bundle {version}: the file of the {name} model, {entry.file}, is missing"
            raise BundleError(msg)
        if sha256(path.read_bytes()) != entry.sha256:
            msg = f"bundle {version}: {entry.file} is not the file that was published (its sha256 differs)"
            raise BundleError(msg)
    return manifest


def activate(shelf: Path, version: str) -> None:
    """Make `version` the active one, on record under the user's name; a serving process takes it up by itself.

    Raises
    ------
    BundleError
        When the bundle is missing or altered.
    """
    verify(shelf, version)
    with _writing(shelf, version):
        _point(shelf, version, "activate")


def activations(shelf: Path) -> list[Activation]:
    """Return every activation, oldest first; a line that a crash tore is none."""
    return pointer.activations(shelf)


def rollback(shelf: Path) -> str:
    """Activate the bundle that was active before the present one, and return its version.

    Several rollbacks in a row go further back each time.

    Raises
    ------
    BundleError
        When there is nothing to go back to.
    """
    if not shelf.is_dir():
        raise _nothing_earlier(shelf)
    with _writing(shelf, "before"):
        version = pointer.previous(pointer.activations(shelf))
        if version is None:
            raise _nothing_earlier(shelf)
        verify(shelf, version)
        _point(shelf, version, "rollback")
    return version


def _nothing_earlier(shelf: Path) -> BundleError:
    return BundleError(f"there is no earlier activation in {shelf} to roll back to")


def _point(shelf: Path, version: str, act: AdminAct) -> None:
    by, source = acts.at_a_terminal()
    pointer.point(shelf, version, act=act, by=by, source=source)


@contextlib.contextmanager
def _writing(shelf: Path, version: str) -> Iterator[None]:
    """Hold the shelf alone, and say in one sentence what cannot be written."""
    try:
        with pointer.alone(shelf):
            yield
    except OSError as error:
        msg = f"bundle {version} cannot be activated in {shelf}: {error.strerror or error}"
        raise BundleError(msg) from error


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
