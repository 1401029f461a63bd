"""What code made something: a digest of the statements of some modules and of all that they import of this project.

Comments, docstrings and layout are not part of it: they change nothing that is made. This module must not know what is made.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

ROOMS: Final = ("contracts", "features", "service", "trainer", "benchmarks")
ROOT: Final = Path(__file__).resolve().parents[1]


def digest(modules: Iterable[str], *data: Path) -> str:
    """Return 64 hexadecimal digits that change when one of `modules`, or what it imports of `ROOMS`, does something else.

    Parameters
    ----------
    modules
        Names of modules to begin with. Imports inside of functions are followed too.
    data
        Files that count as they are.

    Raises
    ------
    ModuleNotFoundError
        For a name that is none of a module.
    """
    waiting, seen = list(modules), {}
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        path = _file(name)
        if path is None:
            msg = f"expected a module of this project, got {name}"
            raise ModuleNotFoundError(msg, name=name)
        tree = ast.parse(path.read_bytes())
        waiting += _imported(name, tree)
        _without_docstrings(tree)
        seen[name] = ast.dump(tree)
    said = hashlib.sha256()
    for name in sorted(seen):
        said.update(f"{name}\n{seen[name]}\n".encode())
    for path in sorted(data):
        said.update(path.read_bytes())
    return said.hexdigest()


def _file(name: str) -> Path | None:
    """Return the source of a module. It is looked for, not imported: an import would run what is not needed here."""
    stem = ROOT.joinpath(*name.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def _imported(name: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _ours(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module and _ours(node.module):
            yield node.module
            # `from package import module` brings in a module, `from module import name` does not.
            yield from (each for each in (f"{node.module}.{alias.name}" for alias in node.names) if _file(each))
    package = name.rpartition(".")[0]
    if package:
        yield package


def _ours(name: str) -> bool:
    return name.partition(".")[0] in ROOMS


def _without_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and _has_docstring(
            node.body
        ):
            del node.body[0]


def _has_docstring(body: list[ast.stmt]) -> bool:
    first = body[0] if body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
