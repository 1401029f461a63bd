"""Plots as inline SVG: text stays text, colours are those of the page, light or dark, and each one says in words what it shows.

This module must not know how anything was found, nor what stands around a plot.
"""

import html
import io
import re
from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from contracts.bundle import Metric
from trainer.evaluate.calibration import Group
from trainer.evaluate.estimate import HISTOGRAM, Estimate

_INK: Final = "#010101"
_LINE: Final = "#020202"
_ACCENT: Final = "#030303"
_DOUBT: Final = "#040404"
_COLOURS: Final = {_INK: "var(--ink)", _LINE: "var(--line)", _ACCENT: "var(--accent)", _DOUBT: "var(--doubt)"}
"""What matplotlib draws with, and what the page's style makes of it: colours that nothing else draws with."""

_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _LINE,
    "axes.titlecolor": _INK,
    "xtick.color": _LINE,
    "xtick.labelcolor": _INK,
    "ytick.color": _LINE,
    "ytick.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    # A name may hold a dollar sign.
    "text.parse_math": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
_MOST_PANELS: Final = 8
_LONGEST: Final = 22
_COLUMNS: Final = 4


def reliability(groups: Sequence[Group], identifier: str, model: str) -> str:
    """Return reliability curves side by side: said against observed with 95 % intervals, each with its number of rows."""
    shown = groups[:_MOST_PANELS]
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    alone = len(shown) == 1
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.2, 4.6) if alone else (3.1 * columns, 3.2 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).flat
        for axes, group in zip(panels, shown, strict=False):
            _curve(axes, group)
        for axes in list(panels)[len(shown) :]:
            axes.set_visible(False)
    said = "; ".join(
        f"{group.value}: {group.rows:,} rows, said {group.said:.3f}, observed {group.observed:.3f}" for group in shown
    )
    return _svg(figure, identifier, f"Reliability of {model}", f"Probability said against rate observed. {said}.")


def _curve(axes: Axes, group: Group) -> None:
    said = [each.said for each in group.curve]
    was = [each.observed.value for each in group.curve]
    low = [each.observed.low for each in group.curve]
    high = [each.observed.high for each in group.curve]
    first, last = min([*said, *low]), max([*said, *high])
    axes.plot([first, last], [first, last], color=_LINE, linewidth=1, linestyle="--")
    colour = _DOUBT if group.is_off else _ACCENT
    axes.vlines(said, low, high, color=colour, linewidth=1.4)
    axes.plot(said, was, color=colour, marker="s" if group.is_off else "o", markersize=4, linewidth=1)
    name = group.value if group.dimension == "all" else f"{group.dimension} {_short(group.value)}"
    axes.set_title(f"{name}{' (off)' if group.is_off else ''}\n{group.rows:,} rows", fontsize=11)
    axes.set_xlabel("said")
    axes.set_ylabel("observed")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def forest(estimates: Sequence[Estimate], unit: str, identifier: str) -> str:
    """Return the value of each policy by each estimator, with intervals, beside what was logged."""
    names = {"snips": ("SNIPS", "o"), "doubly_robust": ("doubly robust", "D"), "ips": ("IPS", "^")}
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9.2, 1.5 + 0.75 * len(estimates)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(estimates[0].logged.value, color=_LINE, linewidth=1, linestyle="--")
        for row, each in enumerate(estimates):
            for place, (name, (_, marker)) in enumerate(names.items()):
                found: Metric | None = getattr(each, name)
                if found is None:
                    continue
                height = row + 0.24 * (place - 1)
                colour = _ACCENT if each.conclusive else _DOUBT
                axes.hlines(height, found.low, found.high, color=colour, linewidth=1.6 if name == "snips" else 1)
                axes.plot(found.value, height, color=colour, marker=marker, markersize=6 if name == "snips" else 5)
        for label, marker in names.values():
            axes.plot([], [], color=_INK, marker=marker, linestyle="none", label=label)
        labels = [
            f"{each.policy}\nESS {each.effective:,.0f}{'' if each.conclusive else ', no conclusion'}"
            for each in estimates
        ]
        axes.set_yticks(range(len(estimates)), labels)
        axes.set_ylim(len(estimates) - 0.4, -0.6)
        low, high = _view(estimates)
        axes.set_xlim(low, high)
        axes.set_xlabel(f"{unit}; dashed: as it was logged")
        figure.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=10)
    said = "; ".join(
        f"{each.policy}: {each.snips.value:.4g} between {each.snips.low:.4g} and {each.snips.high:.4g}"
        f"{'' if each.conclusive else ', no conclusion'}"
        for each in estimates
    )
    return _svg(
        figure, identifier, "Value of policies", f"SNIPS with 95 % intervals, {estimates[0].rows:,} rows. {said}."
    )


def _view(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """Return what to show: every conclusive interval; one that nothing can be concluded from may run out of the picture."""
    shown = [each for each in estimates if each.conclusive] or estimates
    ends = [metric for each in shown for metric in (each.snips, each.ips, each.doubly_robust) if metric is not None]
    low, high = min(metric.low for metric in ends), max(metric.high for metric in ends)
    values = [each.snips.value for each in estimates]
    low, high = min(low, *values), max(high, *values)
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return low - room, high + room


def weights(estimate: Estimate, identifier: str) -> str:
    """Return how many questions weigh how much, before clipping."""
    edges = [*(f"{edge:g}" for edge in HISTOGRAM)]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 2.9), layout="constrained")
        axes = figure.subplots()
        axes.bar(range(len(edges)), estimate.histogram, width=0.9, align="edge", color=_ACCENT)
        axes.set_xticks(range(len(edges)), edges)
        axes.set_xlabel("weight from, before clipping")
        axes.set_ylabel("questions")
        axes.set_title(
            f"{estimate.policy}: {estimate.matched:,} of {estimate.rows:,} weigh more than 0, "
            f"ESS {estimate.effective:,.0f}",
            fontsize=11,
        )
    said = ", ".join(f"{count:,} from {edge}" for edge, count in zip(edges, estimate.histogram, strict=True) if count)
    return _svg(figure, identifier, f"Weights for {estimate.policy}", f"Questions by weight: {said or 'none'}.")


_HEAD: Final = re.compile(r"<svg[^>]*>")
_METADATA: Final = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_VIEW: Final = re.compile(r'viewBox="([^"]+)"')
_ID: Final = re.compile(r'(\bid="|url\(#|href="#)')
_COLOUR: Final = re.compile("|".join(_COLOURS))


def _svg(figure: Figure, identifier: str, title: str, description: str) -> str:
    """Return a figure as an element of a page, its ids its own."""
    buffer = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": identifier}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawn = buffer.getvalue()
    head = _HEAD.search(drawn)
    assert head is not None
    view = _VIEW.search(head.group())
    assert view is not None
    body = _METADATA.sub("", drawn[head.end() :])
    body = _ID.sub(lambda found: f"{found.group(1)}{identifier}-", body)
    body = _COLOUR.sub(lambda found: _COLOURS[found.group()], body)
    width = float(view.group(1).split()[2])
    return (
        f'<svg role="img" aria-labelledby="{identifier}-t {identifier}-d" viewBox="{view.group(1)}" '
        f'style="width:{width:.0f}pt;max-width:100%;height:auto">'
        f'<title id="{identifier}-t">{html.escape(title)}</title>'
        f'<desc id="{identifier}-d">{html.escape(description)}</desc>{body.strip()}'
    )
