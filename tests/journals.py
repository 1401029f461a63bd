"""Journals made or changed by hand, as the service would have written them."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from contracts.event import JournalEvent
from service.journal.frame import frame_of
from service.journal.log import Keeping, Log
from service.journal.reader import JournalReader


def write(folder: Path, events: Sequence[JournalEvent], writer: str = "0", keeping: Keeping | None = None) -> Path:
    """Write events as one worker does, one after the other; return the journal's folder."""
    log = Log(folder / writer, durable=False, keeping=keeping or Keeping(floor_bytes=0))
    for event in events:
        head, content = frame_of(event)
        log.write([head, content], head)
    log.close()
    return folder


def rewrite(folder: Path, change: Callable[[JournalEvent], JournalEvent | None]) -> None:
    """Change the events of a journal of one worker; None drops one."""
    with JournalReader(folder) as reader:
        changed = [change(entry.event()) for entry in reader.merged()]
    shutil.rmtree(folder)
    write(folder, [event for event in changed if event is not None])
