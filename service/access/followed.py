"""A file that is read again when it changes, and whose last good content stays when what came is refused.

This module must not know what is in the file.
"""

import contextlib
import logging
from pathlib import Path
from typing import Final

from service.errors import CredentialsRefused

log: Final = logging.getLogger(__name__)


class Followed:
    """Base of what is made from a file of credentials.

    Parameters
    ----------
    path, others
        The file, and others that belong to it. A link is followed: that is how a mounted secret is replaced.

    Raises
    ------
    CredentialsRefused
        When it cannot be used now, for there is no last good content yet.
    """

    def __init__(self, path: Path, *others: Path) -> None:
        self.path = path
        self._others = others
        self.failing: str | None = None
        self._marks = self._seen()
        self.take()

    def take(self) -> None:
        """Read the file and put what it says in place of what was known, or leave all as it is.

        Raises
        ------
        CredentialsRefused
            When it cannot be used.
        """
        raise NotImplementedError

    def look(self, *, anyway: bool = False) -> None:
        """Read the file again when it has changed, or `anyway`; what is refused is logged, and the last good one stays."""
        marks = self._seen()
        if marks == self._marks and not anyway:
            return
        self._marks = marks
        try:
            self.take()
        except CredentialsRefused as error:
            self.failing = str(error)
            log.warning("credentials were not taken, those of before go on working: %s", error)
        else:
            self.failing = None
            log.info("credentials were read again from %s", self.path)

    def _seen(self) -> tuple[int, ...]:
        """Return what changes when the file does: its place on disk, size, and times of writing and of change."""
        marks: list[int] = []
        for path in (self.path, *self._others):
            with contextlib.suppress(OSError):
                stat = path.stat()
                marks += (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        return tuple(marks)
