"""The pointer of the shelf of bundles, and the record of who moved it.

The file ``active`` names one folder of the shelf and is replaced by one rename; each act is in ``activations.jsonl`` before
the pointer moves, and is what a rollback goes back on. Trainer, command line and administrators move it through here, one
at a time. This module must not know what is in a bundle.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from contracts.activation import Activation, AdminAct
from service import acts

POINTER: Final = "active"
ACTIVATIONS: Final = "activations.jsonl"


def active(shelf: Path) -> str | None:
    """Return the version the pointer names, or None when none was activated yet.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    try:
        return (shelf / POINTER).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None


def activations(shelf: Path) -> list[Activation]:
    """Return every act, oldest first; a line that a crash tore is none.

    Raises
    ------
    OSError
        When the record is there and cannot be read.
    """
    return acts.read(shelf / ACTIVATIONS, Activation)


@contextlib.contextmanager
def alone(shelf: Path) -> Iterator[None]:
    """Keep everybody else from moving the pointer of this shelf; waits for whoever does.

    Raises
    ------
    OSError
        When the shelf cannot be written.
    """
    with (shelf / ACTIVATIONS).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def point(
    shelf: Path,
    version: str,
    *,
    act: AdminAct,
    by: str | None = None,
    source: str | None = None,
    forwarded_for: str | None = None,
) -> Activation:
    """Make `version`, which the caller has verified, the active one, and return the act; call it `alone`.

    Raises
    ------
    OSError
        When the shelf cannot be written; what was active stays so.
    """
    activation = Activation(
        version=version,
        at=datetime.now(UTC),
        act=act,
        before=active(shelf),
        by=by,
        source=source,
        forwarded_for=forwarded_for,
    )
    scratch = shelf / f".{POINTER}.{os.getpid()}"
    try:
        with scratch.open("wb") as file:
            file.write(f"{version}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        # Remembered first: killed in between, a rollback goes back to what is active anyway, never past it.
        acts.append(shelf / ACTIVATIONS, activation)
        scratch.replace(shelf / POINTER)
        _sync_folder(shelf)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
    return activation


def previous(activations: Sequence[Activation]) -> str | None:
    """Return the version that was active before the present one; None when there was none.

    Several rollbacks in a row go further back each time.
    """
    stack: list[str] = []
    for activation in activations:
        if activation.act == "rollback":
            # Back on the version it names; a line may be missing.
            while stack and stack[-1] != activation.version:
                stack.pop()
            stack = stack or [activation.version]
        elif not stack or stack[-1] != activation.version:
            stack.append(activation.version)
    return stack[-2] if len(stack) > 1 else None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
