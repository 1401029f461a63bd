"""Unknown keys of a decoded document, found by its struct type and answered with the nearest known key.

This module must not know what any key means.
"""

import difflib
from collections.abc import Iterable
from typing import Any

from msgspec import inspect


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest known name, or an empty string.

    >>> nearest("colunm", ["column", "constant"]), nearest("zzz", ["column"])
    ("; did you mean 'column'?", '')
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def unknown_key(document: Any, kind: type) -> str | None:
    """Return one sentence on the first key of `document` that `kind` does not have, or None."""
    return _search(document, inspect.type_info(kind), "")


def _search(value: Any, kind: inspect.Type, path: str) -> str | None:
    if isinstance(kind, inspect.UnionType):
        for part in kind.types:
            if isinstance(part, inspect.StructType | inspect.DictType) and isinstance(value, dict):
                return _search(value, part, path)
        return None
    if not isinstance(value, dict):
        return None
    if isinstance(kind, inspect.DictType):
        found = (_search(item, kind.value_type, f"{path}{key}.") for key, item in value.items())
        return next((problem for problem in found if problem), None)
    if isinstance(kind, inspect.StructType):
        fields = {field.encode_name: field.type for field in kind.fields}
        for key, item in value.items():
            if key not in fields:
                place = f"in [{path[:-1]}]" if path else "at the top"
                hint = nearest(key, fields) or f"; known are {', '.join(sorted(fields))}"
                return f"unknown key {key!r} {place}{hint}"
            problem = _search(item, fields[key], f"{path}{key}.")
            if problem:
                return problem
    return None
