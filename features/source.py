"""The catalog as Python source: the one function of each scope that makes a payment's values.

What is the same for all candidates (the first tile of each window, the payment's part of a category) is made once. A blob is
unpacked with a format that skips what no feature of its kind asks for; each window costs one bisection and one unpacking of
just its measures; the values go from local variables straight into float32.

This module must not know which features there are.
"""

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Any, Final, Protocol

from features.clock import DAY, EPOCH, HOUR, SECOND
from features.encoding import Encodings
from features.fields import OTHER_UNIT, STATIC, UNITS, category_source, static_source
from features.increment import CODES
from features.layout import AMOUNT, DECAYED, INDEX, MOST_ROWS, WORD, Layout
from features.spec import FeatureSpec

PER_PAYMENT: Final = frozenset({"since", "relative"})
"""Operations that look at more than a state and the tile of the present."""

MOST_KEPT: Final = 16_384
"""Entities of a kind whose values are kept for the next payment: about 10 MB."""

KEPT: Final = {
    "processor": "processor",
    "processor_bin": "(processor, p.card_bin)",
    "processor_issuer": "(processor, p.issuer_country)",
}
"""Kinds whose values are kept until state or tile change, and what names one of their entities.

A payment changes the states it names; of its candidates it changes those of the one processor it went through. The others
are the same when the next payment asks.
"""


class Rows(Protocol):
    """Returns the values of one scope for each of several rows: packed float32, in catalog order.

    Takes the payment, the moment in microseconds, and for each row the packed states of the scope's kinds, the candidate
    and the wait in seconds.
    """

    def __call__(  # noqa: D102
        self,
        p: Any,
        at: int,
        states: Iterable[Sequence[bytes | None]],
        processors: Iterable[str | None],
        waits: Iterable[int],
        /,
    ) -> list[bytes]: ...


# Operations on a seen entity: m and n are the sums of the inputs over the window. Whole numbers stay what they are:
# packing them into a float32 rounds by way of a float64, as everywhere.
_STATE: Final[dict[str, str]] = {
    "count": "{m}",
    "rate": "{m} / {n} if {n} else {absent}",
    "mean": "{m} / {n} if {n} else {absent}",
    "relative": "float(p.amount_minor) * float({n}) / float({m}) if {m} else {absent}",
    "since": "(at - {last} if at > {last} else 0) / second if {last} >= {horizon} else {absent}",
    "last": "{value} if {last} >= {horizon} else {absent}",
    "decayed": "{part} / {whole} if last_result >= {horizon} and 0.0 <= {part} <= {whole} < 1e300 and {whole} else {absent}",
}

OPERATIONS: Final = frozenset(STATIC) | frozenset(_STATE) | {"prior", "distinct", "streak"}
"""Every operation this engine can compute."""


def compiled(
    scope: str,
    specs: Sequence[FeatureSpec],
    kinds: Sequence[str],
    encodings: Encodings,
    bad: Callable[[str, bytes], None],
) -> Rows:
    """Return the function of one scope.

    Parameters
    ----------
    scope
        Its name in tracebacks.
    specs
        The features, in the order of the values.
    kinds
        The kinds of entity whose states the function is given, in that order.
    encodings
        One for every `prior` feature.
    bad
        Called with the kind and the bytes of a state that cannot be read.
    """
    names: dict[str, Any] = {
        "units": UNITS,
        "other_unit": OTHER_UNIT,
        "day": DAY,
        "hour": HOUR,
        "second": SECOND,
        "date": date.fromordinal,
        "first_day": EPOCH.toordinal(),
        "bisect": bisect_left,
        "tiles_of": _unpackers("i", MOST_ROWS + 1),
        "last_seen_of": _unpackers("4xi", 255),
        "times_of": _unpackers("q", 255),
        "most": MOST_ROWS,
        "bad": bad,
    }
    before = _starts(specs)
    body: list[str] = []
    for position, spec in enumerate(specs):
        if spec.target is not None:
            names[f"t_{spec.name}"] = dict(encodings[spec.name].values).get
            names[f"d_{spec.name}"] = encodings[spec.name].default
            given, varying = category_source(spec, scope)
            before += [f"g{position} = {given}"] if given else []
            body.append(f"v{position} = t_{spec.name}({varying.format(given=f'g{position}')}, d_{spec.name})")
        elif spec.entity is None:
            body.append(f"v{position} = {static_source(spec)}")
    for place, kind in enumerate(kinds):
        entries = [(position, spec) for position, spec in enumerate(specs) if spec.entity == kind]
        if entries:
            body += _entity(place, entries, names)
    names["pack"] = struct.Struct(f"<{len(specs)}f").pack
    lines = [
        "def rows(p, at, states, processors, waits):",
        *["    " + line for line in before],
        "    made = []",
        "    for s, processor, wait in zip(states, processors, waits):",
        *["        " + line for line in body],
        f"        made.append(pack({', '.join(f'v{position}' for position in range(len(specs)))}))",
        "    return made",
    ]
    # The source is made of the catalog's own words alone: no part of a request or a bundle is in it.
    exec(compile("\n".join(lines), f"<features.{scope}>", "exec"), names)  # noqa: S102
    function: Rows = names["rows"]
    return function


def _unpackers(item: str, most: int) -> tuple[Callable[..., tuple[int, ...]], ...]:
    return tuple(struct.Struct("<" + item * count).unpack_from for count in range(most + 1))


def _starts(specs: Sequence[FeatureSpec]) -> list[str]:
    """Return the lines that make the first tile of every window, and of every horizon its first microsecond too."""
    lines: dict[str, str] = {}
    for spec in specs:
        if spec.entity is not None:
            layout = spec.layout
            for width in (layout.horizon, spec.width):
                hop = next(ring.hop for ring in layout.rings if ring.reach >= width)
                times = hop // layout.hop
                lines[_start(layout, width)] = f"(at - {width}) // {hop}" + (f" * {times}" if times > 1 else "")
            hop = layout.rings[-1].hop
            # Never below 1: a time of 0 stands for never.
            lines[f"tile_{layout.hop}"] = f"at // {layout.hop}"
            lines[_horizon(layout)] = f"max((at - {layout.horizon}) // {hop} * {hop}, 1)"
    return [f"{name} = {value}" for name, value in lines.items()]


def _start(layout: Layout, width: int) -> str:
    """Return the name of the first tile of a window."""
    hop = next(ring.hop for ring in layout.rings if ring.reach >= width)
    return f"s_{width}_{hop}_{layout.hop}"


def _horizon(layout: Layout) -> str:
    """Return the name of the first microsecond of the longest window."""
    return f"h_{layout.horizon}_{layout.rings[-1].hop}"


Entries = Sequence[tuple[int, FeatureSpec]]


def _windows(entries: Entries) -> dict[int, list[str]]:
    """Return the measures asked for in each window, in the order of `MEASURES`."""
    found: dict[int, set[str]] = {}
    for _, spec in entries:
        if spec.operation in ("count", "rate", "mean", "relative"):
            found.setdefault(spec.width, set()).update(spec.inputs)
    return {width: sorted(found[width], key=INDEX.__getitem__) for width in sorted(found)}


def _last(spec: FeatureSpec) -> str:
    """Return the name of the time a `since` or `last` feature looks at."""
    what = spec.inputs[0]
    if spec.operation == "since":
        return f"last_{what}"
    return "last_attempt" if what == "amount_minor" else "last_result"


def _head_format(layout: Layout, entries: Entries, measures: Sequence[str]) -> tuple[struct.Struct, list[str]]:
    """Return a format for the head of a blob that skips what is not asked for, and the names of what it gives."""
    asked = {_last(spec) for _, spec in entries if spec.operation in ("since", "last")}
    asked |= {"last_result"} if any(spec.operation == "decayed" for _, spec in entries) else set()
    for _, spec in entries:
        if spec.operation == "last":
            asked.add("last_amount" if spec.inputs[0] == "amount_minor" else "last_code")
        if spec.operation == "decayed":
            asked |= {f"decayed_{name}" for name in spec.inputs}
    form, names = _row_format(layout, measures, "t")
    form = "6sH" + ("B" if layout.members else "x") + ("B" if layout.streak else "x") + form
    names = ["mark", "n", *_counts(layout), *names]
    rest = [(name, "q") for name in ("last_attempt", "last_amount", "last_result", "last_approved")]
    rest += [("last_code", "B"), *((f"decayed_{name}", "d") for name in DECAYED)]
    for name, letter in rest:
        form += letter if name in asked else f"{struct.calcsize('<' + letter)}x"
        names += [name] if name in asked else []
    return struct.Struct("<" + form), names


def _row_format(layout: Layout, measures: Sequence[str], prefix: str) -> tuple[str, list[str]]:
    """Return a format for one row that skips what is not asked for; an amount is one number of two words."""
    form = ""
    for name in layout.measures:
        letter = "Q" if INDEX[name] == AMOUNT else "I"
        form += letter if name in measures else f"{struct.calcsize('<' + letter)}x"
    return form, [f"{prefix}_{name}" for name in layout.measures if name in measures]


def _entity(place: int, entries: Entries, names: dict[str, Any]) -> list[str]:
    """Return the lines that read one entity's state when it was seen in its longest window."""
    layout = entries[0][1].layout
    kind = layout.kind
    windows = _windows(entries)
    measures = [name for name in layout.measures if any(name in asked for asked in windows.values())]
    head, fields = _head_format(layout, entries, measures)
    size = 4 * layout.words
    names |= {f"head_{kind}": head.unpack_from, f"mark_{kind}": layout.mark}
    many = f" + 8 * ({' + '.join(counts)})" if (counts := _counts(layout)) else ""
    if kind in KEPT and not any(spec.operation in PER_PAYMENT for _, spec in entries):
        return _kept(place, entries, [f"b = s[{place}]"], _opened(entries, names, windows, many, size, fields), names)
    return [*_defaults(entries), f"b = s[{place}]", *_opened(entries, names, windows, many, size, fields)]


def _opened(
    entries: Entries, names: dict[str, Any], windows: dict[int, list[str]], many: str, size: int, fields: list[str]
) -> list[str]:
    """Return the lines that unpack the blob `b` and set the entity's features."""
    layout = entries[0][1].layout
    kind = layout.kind
    fits = (f" or m > {layout.members}" if layout.members else "") + (
        f" or k > {layout.streak}" if layout.streak else ""
    )
    lines = [
        "if b is not None:",
        "    z = len(b)",
        f"    if z >= {layout.head_size}:",
        f"        {', '.join(fields)} = head_{kind}(b)",
        "    else:",
        "        mark = None",
        f"    if mark != mark_{kind} or z != {layout.head_size} + {4 + size} * n{many} or n > most{fits}:",
        f"        bad({kind!r}, b)",
        "    elif n:",
        f"        tiles = tiles_of[n](b, {layout.head_size})",
        f"        if tiles[-1] >= {_start(layout, layout.horizon)}:",
    ]
    body = [f"r = {layout.head_size} + 4 * n"] if windows else []
    for width, asked in windows.items():
        body += _window(layout, width, asked, names)
    if any(spec.operation == "distinct" for _, spec in entries):
        body.append(f"seen = last_seen_of[m](b, {layout.head_size} + {4 + size} * n)")
    for position, spec in entries:
        body += _value(position, spec, layout)
    return lines + ["            " + line for line in body]


def _kept(place: int, entries: Entries, read: list[str], opened: list[str], names: dict[str, Any]) -> list[str]:
    """Return the lines that take an entity's values from the last payment when its state and the tile are the same.

    Comparing bytes costs next to nothing beside taking them apart: `make bench` shows both.
    """
    layout = entries[0][1].layout
    kind = layout.kind
    values = ", ".join(f"v{position}" for position, _ in entries)
    names[f"kept_{kind}"] = {}
    names["most_kept"] = MOST_KEPT
    return [
        *read,
        f"e = {KEPT[kind]}",
        f"q = kept_{kind}.get(e)",
        f"if q is not None and q[0] == b and q[1] == tile_{layout.hop}:",
        f"    {values} = q[2]",
        "else:",
        *("    " + line for line in _defaults(entries)),
        *("    " + line for line in opened),
        f"    if len(kept_{kind}) >= most_kept:",
        f"        kept_{kind}.clear()",
        f"    kept_{kind}[e] = (b, tile_{layout.hop}, ({values},))",
    ]


def _after(layout: Layout) -> str:
    """Return where the remembered declines begin in a blob."""
    return f"{layout.head_size} + {4 + 4 * layout.words} * n" + (" + 8 * m" if layout.members else "")


def _counts(layout: Layout) -> list[str]:
    """Return the names of the counts of what follows the rows in a blob of this layout."""
    return (["m"] if layout.members else []) + (["k"] if layout.streak else [])


def _defaults(entries: Entries) -> list[str]:
    """Return the lines that give every feature of an entity its default."""
    by_default: dict[float, list[str]] = {}
    for position, spec in entries:
        by_default.setdefault(spec.default, []).append(f"v{position}")
    return [f"{' = '.join(values)} = {default!r}" for default, values in by_default.items()]


def _window(layout: Layout, width: int, asked: Sequence[str], names: dict[str, Any]) -> list[str]:
    """Return the lines that make the sums of one window, named by measure and width."""
    form, fields = _row_format(layout, asked, "w")
    unpack = f"row_{layout.kind}_{width}"
    names[unpack] = struct.Struct("<" + form).unpack_from
    sums = [f"{name}_{width}" for name in asked]
    lines = [f"i = bisect(tiles, {_start(layout, width)})", "if i < n:"]
    lines.append(f"    {', '.join(fields)}{',' if len(fields) == 1 else ''} = {unpack}(b, r + {4 * layout.words} * i)")
    for name, total in zip(asked, sums, strict=True):
        wrap = WORD * WORD if INDEX[name] == AMOUNT else WORD
        lines.append(f"    {total} = (t_{name} - w_{name}) & {wrap - 1}")
    return [*lines, "else:", f"    {' = '.join(sums)} = 0"]


def _value(position: int, spec: FeatureSpec, layout: Layout) -> list[str]:
    """Return the lines that set one feature of a seen entity."""
    absent, horizon = repr(spec.default), _horizon(layout)
    match spec.operation:
        case "distinct":
            return _seen(position, "seen", _start(layout, spec.width))
        case "streak":
            return [
                f"v{position} = 0",
                "if k:",
                *("    " + line for line in _seen(position, f"times_of[k](b, {_after(layout)})", _horizon(layout))),
            ]
        case "since":
            expression = _STATE["since"].format(last=_last(spec), absent=absent, horizon=horizon)
        case "last":
            what = spec.inputs[0]
            value = "last_amount" if what == "amount_minor" else f"(1.0 if last_code == {CODES[what]} else 0.0)"
            expression = _STATE["last"].format(value=value, last=_last(spec), absent=absent, horizon=horizon)
        case "decayed":
            part, whole = (f"decayed_{name}" for name in spec.inputs)
            expression = _STATE["decayed"].format(part=part, whole=whole, absent=absent, horizon=horizon)
        case _:
            first, second = f"{spec.inputs[0]}_{spec.width}", f"{spec.inputs[-1]}_{spec.width}"
            expression = _STATE[spec.operation].format(m=first, n=second, absent=absent, horizon=horizon)
    return [f"v{position} = {expression}"]


def _seen(position: int, times: str, start: str) -> list[str]:
    """Return the lines that count how many of `times`, greatest first, are not before `start`."""
    return [
        "c = 0",
        f"for x in {times}:",
        f"    if x < {start}:",
        "        break",
        "    c += 1",
        f"v{position} = float(c)",
    ]
