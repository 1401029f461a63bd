"""The catalog in words: as docs/features.md, and as a table for the terminal.

This module must not know how a feature is computed.
"""

from features.catalog import CATALOG, FINGERPRINT
from features.clock import DAY, HOUR, MINUTE
from features.spec import FeatureSpec
from trainer.fit.dataset import INPUTS


def _span(us: int) -> str:
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if us % unit == 0:
            return f"{us // unit} {name}"
    return f"{us} us"


def _row(position: int, spec: FeatureSpec) -> str:
    window = f"{_span(spec.width)} in hops of {_span(spec.hop)}" if spec.entity else ""
    models = ", ".join(model for model, inputs in INPUTS.items() if spec.name in inputs)
    of = " + ".join(spec.inputs) + (f" = {spec.constant}" if spec.constant else "")
    operation = f"{spec.operation} ({spec.target})" if spec.target else spec.operation
    cells = (
        position,
        f"`{spec.name}`",
        spec.scope,
        spec.entity or "",
        operation,
        of,
        window,
        f"{spec.default:g}",
        models,
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def table() -> str:
    return page()


def page() -> str:
    """Return the catalog as a Markdown page."""
    head = (
        "# Features\n\n"
        f"{len(CATALOG)} features, fingerprint `{FINGERPRINT}`. Made by `python -m trainer features --write docs/features.md`; "
        "the definitions are in `features/catalog.py`.\n\n"
        "The default is the value when an input is absent or the entity was not seen in its longest window.\n\n"
        "| # | name | scope | entity | operation | of | window | default | models |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    return "\n".join([head, *(_row(position, spec) for position, spec in enumerate(CATALOG))])
