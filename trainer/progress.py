"""What a person sees while something takes long: one line a step on stderr, with the seconds it took."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is being done, and how long it took once it is."""
    terminal = sys.stderr.isatty()
    started = time.monotonic()
    if terminal:
        sys.stderr.write(f"  {what} ...")
        sys.stderr.flush()
    yield
    sys.stderr.write(f"{chr(13) if terminal else ''}  {what}: {time.monotonic() - started:.1f} s\n")
    sys.stderr.flush()
