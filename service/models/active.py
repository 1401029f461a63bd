"""The active bundle: follows the shelf's pointer while serving, swaps by one assignment, keeps the last good one."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from contracts.bundle import Manifest
from features.assemble import Unreadable, nobody
from service.errors import BundleRefused, NotReady
from service.models.bundle import Bundle, load
from service.policy.rules import Rules

POINTER: Final = "active"
_LONGEST_NAME: Final = 255


class ActiveBundles:
    """The bundle that answers now (`service.ports.Bundles`).

    Parameters
    ----------
    shelf
        Folder of bundles, with a file ``active`` that names one.
    rules
        The retry and authentication rules every bundle decides under.
    unreadable
        Told of each entity's state that cannot be read.
    """

    def __init__(self, shelf: Path, rules: Rules, unreadable: Unreadable = nobody) -> None:
        self._shelf = shelf
        self._rules = rules
        self._unreadable = unreadable
        self._bundle: Bundle | None = None
        self._failing: str | None = f"no bundle has been activated in {shelf}"
        # What was refused last: it is tried again when it changes, not at every look.
        self._refused: tuple[str, _Marks] | None = None

    @property
    def active(self) -> Manifest | None:
        """Manifest of the bundle that answers now."""
        return None if self._bundle is None else self._bundle.manifest

    @property
    def engines(self) -> Mapping[str, str]:
        """What answers for each of its models: ``c`` or ``onnxruntime``."""
        return {} if self._bundle is None else self._bundle.scorer.engines

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
        # In a thread: the shelf may lie on a network that hangs, and then nobody but this look is to wait for it.
        version, wrong = await asyncio.to_thread(_pointed_to, self._shelf)
        if version is None:
            self._failing = wrong
            return
        if self._bundle is not None and version == self._bundle.manifest.version:
            self._failing = None
            self._refused = None
            return
        folder = self._shelf / version
        stamp = (version, await asyncio.to_thread(_marks, folder))
        if stamp == self._refused:
            return
        try:
            bundle = await asyncio.to_thread(load, folder, self._rules, self._unreadable)
        except BundleRefused as error:
            self._failing = str(error)
            # What could not be read at all may be there at the next look, with nothing changed that can be seen.
            self._refused = None if isinstance(error.__cause__, OSError) else stamp
            return
        except Exception as error:
            self._failing = f"bundle {folder} could not be loaded: {type(error).__name__}"
            self._refused = stamp
            raise
        self._bundle = bundle
        self._failing = None
        self._refused = None


_Marks = tuple[tuple[str, int, int], ...]


def _pointed_to(shelf: Path) -> tuple[str | None, str | None]:
    """Return the version pointed to, or why there is none that could be."""
    pointer = shelf / POINTER
    try:
        version = pointer.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None, f"no bundle has been activated in {shelf}"
    except (OSError, UnicodeDecodeError) as error:
        return None, f"the pointer {pointer} cannot be read: {type(error).__name__}"
    if not _is_name(version):
        return None, f"the pointer {pointer} does not name a bundle of its shelf"
    return version, None


def _is_name(version: str) -> bool:
    """Tell whether a version is a plain name, so that its folder lies on the shelf and nowhere else."""
    plain = version.isprintable() and Path(version).name == version and not version.startswith(".")
    return plain and 0 < len(version) <= _LONGEST_NAME


def _marks(folder: Path) -> _Marks:
    """Return what changes when a bundle's folder does: name, size and time of change of all that is in it.

    Not the time of writing: a repair may bring back an old one, or be a change of rights alone.
    """
    try:
        found = [(path.name, path.stat()) for path in (folder, *sorted(folder.iterdir()))]
    except (OSError, ValueError):
        return ()
    return tuple((name, stat.st_size, stat.st_ctime_ns) for name, stat in found)
