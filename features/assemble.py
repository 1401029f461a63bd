"""One payment's features, online: a plan compiled once from the catalog and a bundle's encodings.

The catalog is turned into the source of three functions (payment, candidate, retry) that run straight through: no loop
over specs, no lookup of an operation by name, each window of an entity read once. ``features.offline`` computes the same
values over a history; ``tests/parity`` holds the two together, bit for bit.

This module must not know where the state comes from.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from contracts.currency import EXPONENT
from contracts.payment import Payment
from features.catalog import BY_SCOPE, CANDIDATE, PAYMENT, RETRY
from features.clock import DAY, HOUR, SECOND, moment
from features.encoding import SEPARATOR, Encodings
from features.layout import INDEX, LAYOUTS
from features.spec import FeatureSpec, Scope
from features.state import View, readable

Matrix = npt.NDArray[np.float32]
Views = Mapping[str, View | None]

UNITS: Final[dict[str, float]] = {code: 10.0**exponent for code, exponent in EXPONENT.items()}
"""Minor units in one major unit, by currency; a currency that is not here has 100."""

OTHER_UNIT: Final = 100.0

WIDTH: Final = len(PAYMENT) + len(CANDIDATE)
"""Length of an auth or routing row."""

RETRY_WIDTH: Final = WIDTH + len(RETRY)
"""Length of a retry row: the whole catalog."""


def open_view(kind: str, blob: bytes | None) -> View | None:
    """Open the state of an entity; None for one that is missing or cannot be read (it is then never seen)."""
    return None if blob is None else readable(LAYOUTS[kind], blob)


class Plan:
    """The compiled catalog. Building one takes some milliseconds and is done when a bundle is loaded.

    Parameters
    ----------
    encodings
        One for every `prior` feature of the catalog, by feature name.

    Raises
    ------
    ValueError
        When an encoding is missing.
    """

    def __init__(self, encodings: Encodings) -> None:
        missing = [
            spec.name for specs in BY_SCOPE.values() for spec in specs if spec.target and spec.name not in encodings
        ]
        if missing:
            msg = f"expected an encoding for every prior feature, {', '.join(missing)} missing"
            raise ValueError(msg)
        self._payment = _compile("payment", encodings)
        self._candidate = _compile("candidate", encodings)
        self._retry = _compile("retry", encodings)

    def rows(self, payment: Payment, at: int, views: Views, processors: Sequence[tuple[str, View | None]]) -> Matrix:
        """Return one row per candidate processor, shape (len(processors) or 1, WIDTH), float32.

        Parameters
        ----------
        payment
            The request.
        at
            The moment of the decision, microseconds.
        views
            The state of the payment's entities by kind ("card", "merchant", "bin", "issuer").
        processors
            Name and state of each candidate. Without any, the one row has the candidate features at their defaults
            for a processor never seen.
        """
        head = self._payment(payment, at, views, None, None)
        candidates = processors or (("", None),)
        matrix = np.empty((len(candidates), WIDTH), dtype=np.float32)
        matrix[:, : len(PAYMENT)] = head
        matrix[:, len(PAYMENT) :] = [
            self._candidate(payment, at, {"processor": view}, name, None) for name, view in candidates
        ]
        return matrix

    def retry_rows(
        self, base: Matrix, payment: Payment, at: int, processors: Sequence[str], waits: Sequence[int]
    ) -> Matrix:
        """Return one row per wait and candidate, wait by wait, shape (len(waits) * len(base), RETRY_WIDTH), float32.

        Parameters
        ----------
        base
            The rows of the candidates at the moment of the decision.
        payment
            The retry request.
        at
            The moment of the decision, microseconds.
        processors
            The candidates, in the order of `base`.
        waits
            Planned waits in seconds.
        """
        matrix = np.empty((len(waits), len(base), RETRY_WIDTH), dtype=np.float32)
        matrix[:, :, :WIDTH] = base
        matrix[:, :, WIDTH:] = [
            [self._retry(payment, at, {}, processor, wait) for processor in processors or ("",)] for wait in waits
        ]
        return matrix.reshape(-1, RETRY_WIDTH)


_Row = Callable[[Any, int, Views, str | None, int | None], list[float]]

# Operations on the payment's own fields: an expression over a, b (the inputs), k (the constant), at, us.
# `at` is the moment of the decision and `us` the moment the feature speaks of, both in microseconds.
_STATIC: Final[dict[str, str]] = {
    "number": "{absent} if {a} is None else float({a})",
    "flag": "{absent} if {a} is None else (1.0 if {a} else 0.0)",
    "present": "0.0 if {a} is None else 1.0",
    "equals": "{absent} if {a} is None else (1.0 if {a} == {k} else 0.0)",
    "differs": "{absent} if {a} is None or {b} is None else (1.0 if {a} != {b} else 0.0)",
    "major": "{a} / units.get({b}, other_unit)",
    "whole": "1.0 if {a} % units.get({b}, other_unit) == 0 else 0.0",
    "hour": "({us} % day) / hour",
    "weekday": "float(({us} // day + 3) % 7)",
    "monthday": "float(moment({us}).day)",
    "weekend": "1.0 if ({us} // day + 3) % 7 >= 5 else 0.0",
    "night": "1.0 if {us} % day < 6 * hour else 0.0",
}

# Operations on a window of a seen entity: t are its totals, w the totals at the window's start, m and n the positions of
# the inputs in both.
_WINDOWED: Final[dict[str, str]] = {
    "count": "float(t[{m}] - {w}[{m}])",
    "rate": "(t[{m}] - {w}[{m}]) / d if (d := t[{n}] - {w}[{n}]) else {absent}",
    "mean": "(t[{m}] - {w}[{m}]) / d if (d := t[{n}] - {w}[{n}]) else {absent}",
    "relative": "float(p.amount_minor) * float(t[{n}] - {w}[{n}]) / float(d) if (d := t[{m}] - {w}[{m}]) else {absent}",
    "since": "(at - v.last_attempt) / second if t[{m}] - {w}[{m}] else {absent}",
}

OPERATIONS: Final = frozenset(_STATIC) | frozenset(_WINDOWED) | {"prior"}
"""Every operation this engine can compute."""

_FIELD: Final[dict[str, str]] = {
    "at": "at",
    "retry_at": "(at + wait * second)",
    "wait_seconds": "wait",
    "processor": "processor",
    "same_processor": "(processor == p.decline.processor)",
    "response_code": "p.decline.response_code",
    "advice_code": "p.decline.advice_code",
}


def _compile(scope: Scope, encodings: Encodings) -> _Row:
    """Return a function from a payment, its moment and its views to the values of one scope, in catalog order."""
    specs = BY_SCOPE[scope]
    lines = ["def row(p, at, views, processor, wait):", f"    o = [{', '.join(repr(spec.default) for spec in specs)}]"]
    by_entity: dict[str, list[tuple[int, FeatureSpec]]] = {}
    for position, spec in enumerate(specs):
        if spec.entity is None:
            lines.append(f"    o[{position}] = {_static_source(spec)}")
        else:
            by_entity.setdefault(spec.entity, []).append((position, spec))
    for entity, entries in by_entity.items():
        lines += _entity_source(entity, entries)
    lines.append("    return o")
    names: dict[str, Any] = {
        "units": UNITS,
        "other_unit": OTHER_UNIT,
        "day": DAY,
        "hour": HOUR,
        "second": SECOND,
        "moment": moment,
    }
    for spec in specs:
        if spec.target is not None:
            names[f"t_{spec.name}"] = dict(encodings[spec.name].values)
            names[f"d_{spec.name}"] = encodings[spec.name].default
    # The source is made of the catalog's own words alone: no part of a request or a bundle is in it.
    exec(compile("\n".join(lines), f"<features.{scope}>", "exec"), names)  # noqa: S102
    function: _Row = names["row"]
    return function


def _field(name: str) -> str:
    return _FIELD.get(name, f"p.{name}")


def _static_source(spec: FeatureSpec) -> str:
    if spec.operation == "prior":
        parts = f" + {SEPARATOR!r} + ".join(f"({_field(name)} or '')" for name in spec.inputs)
        return f"t_{spec.name}.get({parts}, d_{spec.name})"
    fields = [_field(name) for name in spec.inputs]
    return _STATIC[spec.operation].format(
        a=fields[0], b=fields[-1], us=fields[0], k=repr(spec.constant), absent=repr(spec.default)
    )


def _entity_source(entity: str, entries: Sequence[tuple[int, FeatureSpec]]) -> list[str]:
    """Return the lines that read one entity's windows, each once, when it was seen in its longest window."""
    layout = LAYOUTS[entity]
    windows = sorted({(spec.ring, spec.width) for _, spec in entries})
    horizon = (len(layout.rings) - 1, layout.horizon)
    events = INDEX["events"]
    whole = f"w{horizon[0]}_{horizon[1]}"
    lines = [
        f"    v = views.get({entity!r})",
        "    if v is not None:",
        "        t = v.totals",
        f"        {whole} = v.before({horizon[0]}, {horizon[1]}, at)",
        f"        if t[{events}] - {whole}[{events}]:",
    ]
    lines += [
        f"            w{ring}_{width} = v.before({ring}, {width}, at)"
        for ring, width in windows
        if (ring, width) != horizon
    ]
    for position, spec in entries:
        source = _WINDOWED[spec.operation].format(
            w=f"w{spec.ring}_{spec.width}", m=INDEX[spec.inputs[0]], n=INDEX[spec.inputs[-1]], absent=repr(spec.default)
        )
        lines.append(f"            o[{position}] = {source}")
    return lines
