"""The model card: one HTML file with every figure, its interval, the baselines and the plots, nothing loaded from elsewhere."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

from contracts.bundle import Calibration, Evaluation, Manifest, Metric, ModelEntry, ModelName, PolicyValue, Selection
from trainer.fit.waits import Wait

mpl.use("Agg")
from matplotlib.figure import Figure

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1d2733}
table{border-collapse:collapse;margin:.5rem 0 1rem}td,th{padding:.25rem .8rem;border-bottom:1px solid #d8dee6;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}h2{margin-top:2.5rem}img{max-width:100%}code{background:#eef1f5}
.say{background:#eef6ee;border-left:4px solid #3a8f3a;padding:.4rem .8rem;margin:.3rem 0}
.note{background:#fff6df;border-left:4px solid #e0a800;padding:.4rem .8rem;margin:.3rem 0}
"""


_REST = frozenset({"ece_by_chance"})
"""Figures that stand in the text under the table."""


class Curves(NamedTuple):
    """What the plots of one model are drawn from: held-out labels, probabilities, (input, share) pairs, waits of a retry."""

    labels: npt.NDArray[np.bool_]
    p: npt.NDArray[np.float64]
    importances: list[tuple[str, float]]
    waits: Sequence[Wait] = ()


def card(manifest: Manifest, curves: Mapping[ModelName, Curves]) -> str:
    """Return the model card of a bundle as a whole HTML page."""
    data = manifest.data
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Model card {manifest.version}</title><style>{_STYLE}</style>",
        f"<h1>Model card</h1><p>Bundle <code>{manifest.version}</code>, features <code>{manifest.feature_fingerprint}</code>, "
        f"made {manifest.created_at:%Y-%m-%d %H:%M} UTC.</p>",
        f"<p>History {data.first:%Y-%m-%d %H:%M} to {data.last:%Y-%m-%d %H:%M}: {data.attempts:,} attempts of "
        f"{data.payments:,} payments. Split by time: approval, routing and retry learn until "
        f"{data.train_until:%Y-%m-%d %H:%M} and are judged from {data.test_from:%Y-%m-%d %H:%M} on. Brackets are 95 % "
        "bootstrap intervals over payments.</p>",
        *(f"<p class=note>{html.escape(note)}</p>" for note in manifest.notes),
    ]
    for name, entry in manifest.models.items():
        parts.append(_section(name, entry, curves.get(name)))  # type: ignore[call-overload]
    return "\n".join(parts)


def _section(name: str, entry: ModelEntry, curves: Curves | None) -> str:
    title = f"<h2>{name}</h2><p>{html.escape(entry.algorithm)}; {len(entry.inputs)} inputs.</p>"
    if entry.untrained_because is not None:
        return f"{title}<p class=note>Not trained: {html.escape(entry.untrained_because)}. Prior {entry.prior:.3g}.</p>"
    if entry.evaluation is None or curves is None:
        title += _selection(entry.selection)
        return f"{title}<p class=note>Not judged: the test window has no rows of both classes.</p>"
    columns = [column for column in entry.evaluation.metrics if column not in _REST]
    head = "".join(f"<th>{column.replace('_', ' ')}" for column in columns)
    rows = [("model", entry.evaluation), *entry.baselines.items()]
    body = "".join(f"<tr><td>{label}{_cells(evaluation, columns)}" for label, evaluation in rows)
    table = (
        f"<table><tr><th>{entry.evaluation.rows:,} rows, {entry.evaluation.positives:,} positive{head}{body}</table>"
    )
    chance = entry.evaluation.metrics["ece_by_chance"].value
    noise = f"<p>On so many rows perfect probabilities would show a calibration error (ece) of {chance:.4f}.</p>"
    plots = f'<img alt="plots of {name}" src="data:image/png;base64,{_plots(curves)}">'
    value = "" if entry.policy_value is None else _value(entry.policy_value)
    return (
        title
        + _selection(entry.selection)
        + _scaled(entry.calibration)
        + table
        + noise
        + value
        + plots
        + _waits(curves.waits)
    )


def _selection(selection: Selection | None) -> str:
    """Return why the model is the algorithm it is."""
    if selection is None:
        return ""
    reading = f"<p class=say>{html.escape(selection.reading[0].upper() + selection.reading[1:])}.</p>"
    if not selection.candidates:
        return reading
    body = "".join(
        f"<tr><td>{html.escape(each.algorithm)}<td class=n>{_metric(each.figure)}"
        + (
            f"<td class=n>{_metric(each.lead)}<td class=n>{each.sure:.0%}"
            if each.lead is not None and each.sure is not None
            else "<td class=n>-" * 2
        )
        for each in selection.candidates
    )
    return (
        f"{reading}<table><tr><th>candidate<th>{selection.measure.replace('_', ' ')}<th>lead over the champion"
        f"<th>redrawn slices in which it leads{body}</table>"
        f"<p>Learnt from {selection.learnt:,} rows of the training window before {selection.learnt_until:%Y-%m-%d %H:%M}, "
        f"compared on {selection.judged:,} of it from {selection.judged_from:%Y-%m-%d %H:%M} on, {selection.positives:,} of them "
        "positive; the test window had no part in it. Brackets are 95 % bootstrap intervals over cards.</p>"
    )


def _metric(metric: Metric) -> str:
    return f"{metric.value:.4f} [{metric.low:.4f}, {metric.high:.4f}]"


def _scaled(scaling: Calibration | None) -> str:
    if scaling is None or scaling.method == "none":
        return "<p>Not scaled: too few rows to calibrate on.</p>"
    if scaling.method == "platt":
        return f"<p>Platt scaling on {scaling.rows:,} rows: slope {scaling.slope:.3f}, offset {scaling.offset:.3f}.</p>"
    return (
        f"<p>Beta calibration on {scaling.rows:,} rows: slopes {scaling.slope:.3f} and {scaling.slope_high:.3f}, "
        f"offset {scaling.offset:.3f}.</p>"
    )


def _value(value: PolicyValue) -> str:
    cells = "".join(
        f"<tr><td>{label}<td class=n>{_metric(metric)}"
        for label, metric in (
            (f"sent to {value.policy}", value.value),
            ("as it was routed", value.logged),
            ("difference", value.gain),
        )
    )
    return (
        f"<h3>What routing by it would have been worth</h3><table><tr><th>approvals per first attempt<th>{cells}</table>"
        f"<p class={'say' if value.conclusive else 'note'}>{html.escape(value.reading[0].upper() + value.reading[1:])}. "
        f"Self-normalised inverse propensity score over {value.rows:,} held-out first attempts with a logged propensity, "
        f"of which {value.matched:,} were routed alike: effective sample size {value.effective:,.0f}; no attempt weighs more "
        f"than {value.clip:.0f} ({value.clipped:,} would have).</p>"
    )


def _waits(waits: Sequence[Wait]) -> str:
    """Return the table and the plot of a retry over its waits."""
    if not waits:
        return ""
    body = "".join(
        f"<tr><td>{_span(wait.seconds)}<td class=n>{wait.said:.4f}<td class=n>{wait.rows:,}"
        + (f"<td class=n>{wait.said_there:.4f}<td class=n>{wait.observed:.4f}" if wait.rows else "<td class=n>-" * 2)
        for wait in waits
    )
    return (
        "<h3>By wait</h3><table><tr><th>wait from<th>said of all declines<th>retried so<th>said of those<th>succeeded"
        f'{body}</table><img alt="retry by wait" src="data:image/png;base64,{_wait_plot(waits)}">'
    )


def _span(seconds: int) -> str:
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds and seconds % unit == 0:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def _cells(evaluation: Evaluation, columns: list[str]) -> str:
    cells = (evaluation.metrics[column] for column in columns)
    return "".join(f"<td class=n>{_metric(cell)}" for cell in cells)


def _plots(curves: Curves) -> str:
    """Return ROC, reliability and importances side by side, as a base64 PNG."""
    figure = Figure(figsize=(15, 4.4), layout="constrained")
    roc, reliability, weights = figure.subplots(1, 3)
    false, true, _ = roc_curve(curves.labels, curves.p)
    roc.plot(false, true)
    roc.plot([0, 1], [0, 1], color="grey", linewidth=0.7)
    roc.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")
    order = np.argsort(curves.p, kind="stable")
    bins = [rows for rows in np.array_split(order, 15) if len(rows)]
    said = [curves.p[rows].mean() for rows in bins]
    was = np.array([curves.labels[rows].mean() for rows in bins])
    error = [1.96 * (rate * (1 - rate) / len(rows)) ** 0.5 for rate, rows in zip(was, bins, strict=True)]
    reliability.errorbar(said, was, yerr=error, fmt="o-", markersize=3)
    edge = float(max(*said, *was)) * 1.05
    reliability.plot([0, edge], [0, edge], color="grey", linewidth=0.7)
    reliability.set(title="reliability, 15 bins of equal size", xlabel="probability said", ylabel="rate observed")
    top = curves.importances[:15][::-1]
    weights.barh([name for name, _ in top], [share for _, share in top])
    weights.set(title="importance (share)")
    weights.tick_params(labelsize=7)
    return _png(figure)


def _wait_plot(waits: Sequence[Wait]) -> str:
    """Return what was said and what was observed over the waits, as a base64 PNG."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(len(waits)), [wait.said for wait in waits], marker="o", markersize=3, label="said of all declines")
    there = [(place, wait) for place, wait in enumerate(waits) if wait.rows]
    places = [place for place, _ in there]
    observed = np.array([wait.observed for _, wait in there])
    error = 1.96 * np.sqrt(observed * (1 - observed) / np.array([wait.rows for _, wait in there]))
    axes.errorbar(places, observed, yerr=error, fmt="s", markersize=4, label="observed")
    axes.plot(places, [wait.said_there for _, wait in there], "x", label="said of those observed")
    axes.set_xticks(range(len(waits)), [_span(wait.seconds) for wait in waits])
    axes.set(title="success by wait", xlabel="wait from", ylabel="probability", ylim=(0, None))
    axes.legend(fontsize=8)
    return _png(figure)


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return base64.b64encode(buffer.getvalue()).decode()
