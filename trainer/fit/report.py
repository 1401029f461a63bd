"""The model card: one HTML file with every figure, its interval, the baselines and the plots, nothing loaded from elsewhere."""

import base64
import html
import io
from collections.abc import Mapping
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

from contracts.bundle import Evaluation, Manifest, ModelEntry, ModelName

mpl.use("Agg")
from matplotlib.figure import Figure

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1d2733}
table{border-collapse:collapse;margin:.5rem 0 1rem}td,th{padding:.25rem .8rem;border-bottom:1px solid #d8dee6;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}h2{margin-top:2.5rem}img{max-width:100%}code{background:#eef1f5}
.note{background:#fff6df;border-left:4px solid #e0a800;padding:.4rem .8rem;margin:.3rem 0}
"""


class Curves(NamedTuple):
    """What the plots of one model are drawn from: held-out labels, probabilities, and (input, share) pairs."""

    labels: npt.NDArray[np.bool_]
    p: npt.NDArray[np.float64]
    importances: list[tuple[str, float]]


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
        return f"{title}<p class=note>Not trained: {html.escape(entry.untrained_because)}. Prior {entry.prior:.4f}.</p>"
    if entry.evaluation is None or curves is None:
        return f"{title}<p class=note>Not judged: the test window has no rows of both classes.</p>"
    scaling = entry.calibration
    scaled = (
        f"<p>Platt scaling on {scaling.rows:,} rows: slope {scaling.slope:.3f}, offset {scaling.offset:.3f}.</p>"
        if scaling is not None and scaling.method == "platt"
        else "<p>Not scaled: too few rows to calibrate on.</p>"
    )
    columns = list(entry.evaluation.metrics)
    head = "".join(f"<th>{column.replace('_', ' ')}" for column in columns)
    rows = [("model", entry.evaluation), *entry.baselines.items()]
    body = "".join(f"<tr><td>{label}{_cells(evaluation, columns)}" for label, evaluation in rows)
    table = (
        f"<table><tr><th>{entry.evaluation.rows:,} rows, {entry.evaluation.positives:,} positive{head}{body}</table>"
    )
    return title + scaled + table + f'<img alt="plots of {name}" src="data:image/png;base64,{_plots(curves)}">'


def _cells(evaluation: Evaluation, columns: list[str]) -> str:
    cells = (evaluation.metrics[column] for column in columns)
    return "".join(f"<td class=n>{cell.value:.4f} [{cell.low:.4f}, {cell.high:.4f}]" for cell in cells)


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
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return base64.b64encode(buffer.getvalue()).decode()
