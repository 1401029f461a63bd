"""The sections of an evaluation's page: each bundle's calibration, and the value of policies by each log.

This module must not know how anything was found.
"""

from collections.abc import Iterator
from typing import Final

from trainer.evaluate import figures
from trainer.evaluate.calibration import Calibrated, Group
from trainer.evaluate.estimate import SHARES, Estimate
from trainer.evaluate.page import figure, folded, heading, loud, page, say, table
from trainer.evaluate.report import Judged, Report, Values, metric
from trainer.evaluate.segments import DIMENSIONS

_LEAD: Final = (
    "Brackets are 95 % intervals over payments. A policy's value is estimated from what was logged: SNIPS is the estimate to go "
    "by, the doubly robust one and IPS stand beside it."
)


def html_of(report: Report) -> str:
    """Return an evaluation as a page of its own."""
    when = ""
    if report.since is not None and report.until is not None:
        when = f"Payments from {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC. "
    parts = [part for bundle in report.bundles for part in of_bundle(bundle)]
    for number, values in enumerate(report.values):
        parts += of_values(values, f"v{number}")
    return page("Evaluation", when + _LEAD, parts)


def of_bundle(bundle: Judged) -> Iterator[str]:
    """Yield the calibration of a bundle's models."""
    yield heading(2, f"Calibration of bundle {bundle.version}")
    yield from map(loud, bundle.notes)
    for number, each in enumerate(bundle.models):
        yield from _model(each, f"c{bundle.version}-{number}".replace(".", "-"))
    for model, why in bundle.untold.items():
        yield heading(3, model)
        yield say(why)


_GROUP: Final = (
    "rows",
    "payments",
    "said",
    "observed",
    "observed less said",
    "ece",
    "by chance",
    "brier",
    "chance",
    "",
)


def _model(found: Calibrated, identifier: str) -> Iterator[str]:
    yield heading(3, found.model)
    yield say(found.reading)
    figures_of = "" if found.figures is None else f"; AUC {metric(found.figures.metrics['auc'], 3)}"
    yield table(
        f"{found.model}: {found.whole.rows:,} rows of {found.whole.payments:,} payments{figures_of}",
        ("segment", *_GROUP),
        [("all", *_cells(found.whole))],
    )
    yield figure(
        figures.reliability([found.whole], identifier, found.model),
        f"Reliability of {found.model}, {len(found.whole.curve)} bins of equal size over {found.whole.rows:,} rows; bars are "
        "95 % intervals, the dashed line is where said and observed are the same.",
    )
    for dimension in DIMENSIONS:
        groups = [group for group in found.groups if group.dimension == dimension]
        if not groups:
            continue
        off = sum(group.is_off for group in groups)
        rows = sum(group.rows for group in groups)
        shown = sorted(groups, key=lambda group: (not group.is_off, -group.rows))
        yield folded(
            f"By {dimension}: {len(groups)} segments, {off} off",
            (
                table(
                    f"{found.model} by {dimension}, {rows:,} rows; chance is the p-value after Holm over all segments",
                    (dimension, *_GROUP),
                    [(group.value, *_cells(group)) for group in shown],
                ),
                figure(
                    figures.reliability(shown, f"{identifier}-{dimension.replace(' ', '-')}", found.model),
                    f"Reliability of {found.model} by {dimension}, {rows:,} rows: what is off first, then the largest.",
                ),
            ),
        )


def _cells(group: Group) -> tuple[str, ...]:
    return (
        f"{group.rows:,}",
        f"{group.payments:,}",
        f"{group.said:.4f}",
        f"{group.observed:.4f}",
        metric(group.gap),
        metric(group.ece),
        f"{group.ece_by_chance:.4f}",
        metric(group.brier),
        "-" if group.chance is None else f"{group.chance:.2g}",
        "off" if group.is_off else "too few" if group.chance is None else "true",
    )


def of_values(values: Values, identifier: str) -> Iterator[str]:
    """Yield what policies would have been worth by one log."""
    yield heading(2, f"Value of policies by {values.source}")
    yield from map(loud, values.notes)
    digits = 4 if all(each.reward in SHARES for each in values.estimates) else 1
    first = values.estimates[0]
    yield table(
        f"{values.unit}; {first.rows:,} rows of {first.payments:,} payments",
        (
            "policy",
            "SNIPS",
            "doubly robust",
            "IPS",
            "over logged",
            "model alone",
            "ESS",
            "matched",
            "clip",
            "clipped",
            "weight cut",
        ),
        [_row(each, digits) for each in values.estimates],
    )
    for each in values.estimates:
        sentence = f"{each.policy}: {each.reading}"
        yield say(sentence) if each.conclusive else loud(sentence)
        yield from (say(note) for note in each.notes)
    yield figure(
        figures.forest(values.estimates, values.unit, f"{identifier}-forest"),
        f"Value of each policy with 95 % intervals over {first.rows:,} rows.",
    )
    weighed = [each for each in values.estimates if each.policy != "logged"]
    if weighed:
        yield folded(
            f"Weights of {len(weighed)} policies",
            [
                figure(
                    figures.weights(each, f"{identifier}-w{number}"),
                    f"Weights for {each.policy} over {each.rows:,} rows: on average {each.mean_weight:.3f}, where right "
                    f"propensities give {each.expected_weight:.3f}; clipped from {each.clip:,.0f} on.",
                )
                for number, each in enumerate(weighed)
            ],
        )


_VALUE: Final = (
    "policy",
    "SNIPS",
    "doubly robust",
    "IPS",
    "over logged",
    "model alone",
    "ESS",
    "matched",
    "clip",
    "clipped",
    "weight cut",
)


def _row(each: Estimate, digits: int) -> tuple[str, ...]:
    return (
        each.policy,
        metric(each.snips, digits),
        "-" if each.doubly_robust is None else metric(each.doubly_robust, digits),
        metric(each.ips, digits),
        metric(each.gain, digits),
        "-" if each.direct is None else f"{each.direct.value:,.{digits}f}",
        f"{each.effective:,.0f}",
        f"{each.matched:,}",
        f"{each.clip:,.0f}",
        f"{each.clipped:.2%}",
        f"{each.cut:.2%}",
    )
