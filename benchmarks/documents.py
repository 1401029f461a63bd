"""Tables in the documents that a command writes itself, between two marks that name it.

This module must not know what a table says.
"""

from pathlib import Path
from typing import Final

FIGURES: Final = Path("docs/benchmarks.md")


class NoPlace(Exception):
    """A document does not have the marks that something is to be written between."""


def put(path: Path, name: str, text: str) -> None:
    """Write `text` between ``<!-- name -->`` and ``<!-- /name -->``, in place of what is there.

    Raises
    ------
    NoPlace
        When the document has not exactly one place of this name.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    document = path.read_text()
    before, opened, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not opened or not closed or begin in after:
        msg = f"expected one {begin.strip()} ... {end} in {path}"
        raise NoPlace(msg)
    path.write_text(f"{before}{begin}\n{text.strip()}\n\n{end}{after}")


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
