"""A log of acts: JSON lines that are on disk when `append` returns, and who acts at a command line.

This module must not know what the acts are.
"""

import getpass
import os
import socket
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


def append(path: Path, act: msgspec.Struct) -> None:
    """Add one act to a log, which is made when it is not there.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    line = msgspec.json.encode(act) + b"\n"
    with path.open("ab+") as file:
        # A line that a crash tore must not swallow this one.
        file.write(b"\n" + line if _torn(file.tell(), path) else line)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path, kind: type[T]) -> list[T]:
    """Return every act of a log, oldest first; a line that a crash tore is none.

    Raises
    ------
    OSError
        When it is there and cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=kind))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return found


def at_a_terminal() -> tuple[str, str]:
    """Return who acts and from where, as far as a command line knows: the user and the host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A number without a name, as in a container; Python 3.13 says OSError.
        user = str(os.getuid())
    return user, f"command line of {socket.gethostname()}"


def _torn(size: int, path: Path) -> bool:
    if size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
