"""The catalog in words: as docs/features.md, and as a table for the terminal.

This module must not know how a feature is computed.
"""

from typing import Final

from features.catalog import CATALOG, FINGERPRINT, GROUPS, POSITION, USES, inputs
from features.clock import DAY, HOUR, MINUTE, SECOND
from features.entity import FIELDS
from features.layout import LAYOUTS, Layout
from features.spec import FeatureSpec

_HEADS: Final = ("#", "name", "scope", "entity", "operation", "of", "window", "hop", "known at", "default", "models")
_MODELS: Final = {model: frozenset(spec.name for spec in inputs(model)) for model in USES}
_WORDS: Final = {
    "decided_at": "when an attempt is decided",
    "settled_at": "when its result is settled, seconds later",
    "chargeback_at": "when a chargeback is reported, weeks later",
}


def _span(us: int) -> str:
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (SECOND, "s")):
        if us and us % unit == 0:
            return f"{us // unit} {name}"
    return f"{us} us"


def _cells(spec: FeatureSpec) -> tuple[str, ...]:
    """Return one feature's row under `_HEADS`."""
    of = " + ".join(spec.inputs) + (f" = {spec.constant}" if spec.constant else "")
    return (
        str(POSITION[spec.name]),
        spec.name,
        spec.scope,
        spec.entity or "",
        f"{spec.operation} ({spec.target})" if spec.target else spec.operation,
        of,
        _span(spec.width) if spec.width else "",
        _span(spec.hop) if spec.width else "",
        spec.clock,
        f"{spec.default:g}",
        ", ".join(model for model, names in _MODELS.items() if spec.name in names),
    )


def table() -> str:
    """Return the catalog as lines of aligned columns, one feature a line."""
    rows = [_HEADS, *map(_cells, CATALOG)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([f"{len(CATALOG)} features, fingerprint {FINGERPRINT}", "", *lines])


def page() -> str:
    """Return the catalog as a Markdown page: what is remembered of whom, then the features by group."""
    parts = [
        "# Features\n\n"
        f"{len(CATALOG)} features, fingerprint `{FINGERPRINT}`. Made by `python -m trainer features --write docs/features.md`; "
        "the definitions are in `features/catalog.py`. `python -m trainer features --history DIR --out DIR` computes them for a\n"
        "history ([scale](scale.md)).\n\n"
        "A window of width W and hop h covers [floor((t - W) / h) * h, t) for a payment at t. The default is the value when an\n"
        "input is absent or the entity was not seen in its longest window. A feature sees only what is known by then: "
        + "; ".join(f"`{clock}` is {words}" for clock, words in _WORDS.items())
        + ".",
        "## Entities\n\n"
        + _markdown(
            ("entity", "key", "windows up to (hop)", "half-life of decayed sums", "remembers"),
            [_entity(kind, layout) for kind, layout in LAYOUTS.items()],
        ),
    ]
    for group, specs in GROUPS.items():
        rows = [(number, f"`{name}`", *rest) for number, name, *rest in map(_cells, specs)]
        parts.append(f"## {group.replace('_', ' ').capitalize()}\n\n" + _markdown(_HEADS, rows))
    return "\n\n".join(parts)


def _entity(kind: str, layout: Layout) -> tuple[str, ...]:
    remembered = [f"{layout.members} different `{layout.distinct}`"] if layout.distinct else []
    remembered += [f"{layout.streak} declines in a row"] if layout.streak else []
    return (
        kind,
        " + ".join(f"`{name}`" for name in FIELDS[kind]),
        ", ".join(f"{_span(ring.reach)} ({_span(ring.hop)})" for ring in layout.rings),
        _span(layout.half_life),
        ", ".join(remembered),
    )


def _markdown(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
