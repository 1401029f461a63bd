"""Which lines of some modules have been run: what guides the fuzzer, and what it says in the end.

Only a line's first run counts, so that it costs little: with Python 3.12 and later a line is not watched any more once it has
been run (PEP 669); before, a function is left alone once all its lines have. This module must not know what is run.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple

_TOOL: Final = 4
_WATCH: Final[Any] = getattr(sys, "monitoring", None)
"""Python's own watch of lines, from 3.12 on."""


class Line(NamedTuple):
    """One line of one file."""

    file: str
    number: int


class Reached:
    """The lines of functions in some files that have been run while the context was open.

    Parameters
    ----------
    files
        Whose lines to watch.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self.all: set[Line] = set()
        self._of: dict[tuple[str, int], set[Line]] = {}
        for file in files:
            name = str(file)
            for code in _functions(compile(file.read_text(), name, "exec")):
                lines = {Line(name, number) for number in _lines(code)}
                self._of[name, code.co_firstlineno] = lines
                self.all |= lines
        self.seen: set[Line] = set()
        self._fresh = 0
        self._enough = None if _WATCH is None else _WATCH.DISABLE
        self._left = {key: set(lines) for key, lines in self._of.items()}

    def take(self) -> bool:
        """Return whether a line was run for the first time since this was asked last."""
        fresh, self._fresh = self._fresh, 0
        return fresh > 0

    @property
    def missing(self) -> list[Line]:
        """The lines that were never run, in order."""
        return sorted(self.all - self.seen)

    def __enter__(self) -> "Reached":
        if _WATCH is None:
            sys.settrace(self._on_call)
        else:
            _WATCH.use_tool_id(_TOOL, "pointsman-fuzz")
            _WATCH.register_callback(_TOOL, _WATCH.events.LINE, self._on_line)
            _WATCH.set_events(_TOOL, _WATCH.events.LINE)
        return self

    def __exit__(self, *_: object) -> None:
        if _WATCH is None:
            sys.settrace(None)
        else:
            _WATCH.set_events(_TOOL, 0)
            _WATCH.register_callback(_TOOL, _WATCH.events.LINE, None)
            _WATCH.free_tool_id(_TOOL)

    def _note(self, line: Line) -> None:
        if line in self.all and line not in self.seen:
            self.seen.add(line)
            self._fresh += 1

    def _on_line(self, code: CodeType, number: int) -> Any:
        self._note(Line(code.co_filename, number))
        return self._enough

    def _on_call(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        left = self._left.get((code.co_filename, code.co_firstlineno))
        if not left:
            return None
        name = code.co_filename

        def on_line(frame: FrameType, event: str, _argument: Any) -> Any:
            if event == "line":
                line = Line(name, frame.f_lineno)
                if line in left:
                    left.discard(line)
                    self._note(line)
            return on_line

        return on_line


def _functions(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of every function below: what a module or a class runs by itself, it ran when it was imported."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & 0x2:  # CO_NEWLOCALS: a function, no class body
                yield constant
            yield from _functions(constant)


def _lines(code: CodeType) -> set[int]:
    return {number for _, _, number in code.co_lines() if number is not None and number != code.co_firstlineno}
