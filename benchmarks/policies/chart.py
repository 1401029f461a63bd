"""Curves as SVG, written by hand: one picture for each scenario, nothing to install.

This module must not know what the curves are of.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 150, 34, 40
_COLOURS: Final = ("#7f7f7f", "#bcbd22", "#9467bd", "#d62728", "#8c564b", "#17becf", "#1f77b4", "#2ca02c")
_TICKS: Final = 5


def curves(title: str, across: str, up: str, of: Mapping[str, Sequence[float]], most_across: float) -> str:
    """Return an SVG of curves over one axis from 0 to `most_across`; each begins at 0.

    Parameters
    ----------
    title, across, up
        Heading, and what the two axes are.
    of
        By name, the heights at equal steps, the first after one step.
    """
    low = min([0.0, *[min(values) for values in of.values()]])
    high = max([1e-9, *[max(values) for values in of.values()]])
    inner, tall = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def y(value: float) -> float:
        return _TOP + tall * (high - value) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="20" font-size="14">{escape(title)}</text>',
        f'<text x="{_LEFT + inner / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(across)}</text>',
        f'<text transform="translate(14 {_TOP + tall / 2:.0f}) rotate(-90)" text-anchor="middle">{escape(up)}</text>',
    ]
    for value in _round_between(low, high):
        parts += [
            f'<line x1="{_LEFT}" x2="{_LEFT + inner}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#e0e0e0"/>',
            f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>',
        ]
    for value in _round_between(0.0, most_across):
        place = _LEFT + inner * value / most_across
        parts.append(f'<text x="{place:.0f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{value:,.0f}</text>')
    labels = _spread({name: y(values[-1]) for name, values in of.items()}, HEIGHT - _BOTTOM + 4.0)
    for number, (name, values) in enumerate(of.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [(0.0, 0.0), *[((step + 1) / len(values), value) for step, value in enumerate(values)]]
        line = " ".join(f"{_LEFT + inner * x:.1f},{y(value):.1f}" for x, value in points)
        parts += [
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<text x="{_LEFT + inner + 8}" y="{labels[name]:.1f}" fill="{colour}">{escape(name)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _round_between(low: float, high: float) -> list[float]:
    """Return round numbers from `low` to `high`, about `_TICKS` of them."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1.0, 2.0, 5.0, 10.0) if power * factor >= rough * (1.0 - 1e-9))
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step * (1.0 + 1e-9)) + 1)]


def _spread(heights: Mapping[str, float], lowest: float, apart: float = 14.0) -> dict[str, float]:
    """Return where labels go so that none lies on another, none below `lowest`."""
    placed: dict[str, float] = {}
    free = lowest
    for name, height in sorted(heights.items(), key=lambda item: -item[1]):
        placed[name] = min(height + 4.0, free)
        free = placed[name] - apart
    return placed
