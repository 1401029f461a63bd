"""The active bundle: follows the shelf's pointer while serving, swaps by one assignment, keeps the last good one."""

import asyncio
from pathlib import Path
from typing import Final

from contracts.bundle import Manifest
from service.errors import BundleRefused, NotReady
from service.models.bundle import MANIFEST, Bundle, load
from service.policy.rules import Rules

POINTER: Final = "active"


class ActiveBundles:
    """The bundle that answers now (`service.ports.Bundles`).

    Parameters
    ----------
    shelf
        Folder of bundles, with a file ``active`` that names one.
    rules
        The retry and authentication rules every bundle decides under.
    """

    def __init__(self, shelf: Path, rules: Rules) -> None:
        self._shelf = shelf
        self._rules = rules
        self._bundle: Bundle | None = None
        self._failing: str | None = f"no bundle has been activated in {shelf}"
        # What was refused last: it is tried again when it changes, not at every look.
        self._refused: tuple[str, int] | None = None

    @property
    def active(self) -> Manifest | None:
        """Manifest of the bundle that answers now."""
        return None if self._bundle is None else self._bundle.manifest

    @property
    def failing(self) -> str | None:
        """Why the bundle pointed to is not the active one; None when all is well."""
        return self._failing

    @property
    def current(self) -> Bundle:
        """The bundle that answers now.

        Raises
        ------
        NotReady
            Before the first one is loaded.
        """
        if self._bundle is None:
            part = "bundle"
            raise NotReady(part, self._failing or "none is loaded yet")
        return self._bundle

    async def refresh(self) -> None:
        """Look at the pointer; load, verify and swap when it names another bundle. Decisions go on meanwhile."""
        version = self._pointer()
        if version is None:
            if self._bundle is None:
                self._failing = f"no bundle has been activated in {self._shelf}"
            return
        if self._bundle is not None and version == self._bundle.manifest.version:
            self._failing = None
            self._refused = None
            return
        folder = self._shelf / Path(version).name
        stamp = (version, _changed(folder))
        if stamp == self._refused:
            return
        try:
            bundle = await asyncio.to_thread(load, folder, self._rules)
        except BundleRefused as error:
            self._failing = str(error)
            self._refused = stamp
            return
        self._bundle = bundle
        self._failing = None
        self._refused = None

    def _pointer(self) -> str | None:
        try:
            return (self._shelf / POINTER).read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            return None


def _changed(folder: Path) -> int:
    """Return when anything in a bundle's folder changed last, or 0 when it is not there."""
    try:
        return max(path.stat().st_mtime_ns for path in (folder, *folder.iterdir()))
    except (OSError, ValueError):
        return 0


__all__ = ["MANIFEST", "ActiveBundles"]
