"""The documented defaults of `PolicyParameters`, as they are stamped into a bundle.

This module must not know a shop.
"""

import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.bundle import PolicyParameters, RetryParameters
from service.policy.errors import ParameterError

FILE: Final = Path(__file__).parent / "defaults.toml"


def default_parameters(file: Path = FILE) -> PolicyParameters:
    """Read policy parameters from a TOML file, the documented defaults unless told otherwise.

    Raises
    ------
    ParameterError
        The file says something unknown, lacks something, or contradicts itself.
    """
    with file.open("rb") as opened:
        raw = tomllib.load(opened)
    _refuse_unknown(raw, PolicyParameters, "")
    retry = raw.get("retry")
    if isinstance(retry, dict):
        _refuse_unknown(retry, RetryParameters, "retry.")
    try:
        parameters = msgspec.convert(raw, PolicyParameters)
    except msgspec.ValidationError as exc:
        raise ParameterError(file.name, str(exc)) from exc
    check(parameters)
    return parameters


def check(parameters: PolicyParameters) -> None:
    """Refuse parameters that contradict themselves.

    Raises
    ------
    ParameterError
        A share lies outside 0 to 1, the tiers are not in order, or a wait is negative or repeated.
    """
    retry = parameters.retry
    waits = retry.waits_seconds
    share, amount = "a share of 0 to 1", "0 or more"
    demands = (
        ("tier_medium", parameters.tier_medium, 0.0 <= parameters.tier_medium <= 1.0, share),
        ("tier_high", parameters.tier_high, 0.0 <= parameters.tier_high <= 1.0, share),
        ("minimum_approval", parameters.minimum_approval, 0.0 <= parameters.minimum_approval <= 1.0, share),
        ("exploration", parameters.exploration, 0.0 <= parameters.exploration <= 1.0, share),
        ("exploration_floor", parameters.exploration_floor, 0.0 <= parameters.exploration_floor <= 1.0, share),
        ("probe_share", parameters.probe_share, 0.0 <= parameters.probe_share <= 1.0, share),
        ("challenge_abandonment", lost := parameters.challenge_abandonment, 0.0 <= lost <= 1.0, share),
        ("challenge_fraud_stopped", stopped := parameters.challenge_fraud_stopped, 0.0 <= stopped <= 1.0, share),
        ("challenge_gain", parameters.challenge_gain, parameters.challenge_gain >= 0.0, amount),
        ("margin_share", parameters.margin_share, parameters.margin_share >= 0.0, amount),
        ("chargeback_fee_minor", parameters.chargeback_fee_minor, parameters.chargeback_fee_minor >= 0, amount),
        ("tier_medium", parameters.tier_medium, parameters.tier_medium <= parameters.tier_high, "at most tier_high"),
        ("retry.minimum_probability", retry.minimum_probability, 0.0 <= retry.minimum_probability <= 1.0, share),
        ("retry.horizon_seconds", retry.horizon_seconds, retry.horizon_seconds >= 0, amount),
        ("retry.waits_seconds", waits, list(waits) == sorted(set(waits)), "rising waits"),
        ("retry.waits_seconds", waits, min(waits, default=0) >= 0, "waits of 0 or more"),
    )
    for name, value, met, expected in demands:
        if not met:
            raise ParameterError(name, f"expected {expected}, got {value}")


def _refuse_unknown(raw: dict[str, Any], kind: type[msgspec.Struct], prefix: str) -> None:
    for name in raw:
        if name not in kind.__struct_fields__:
            raise ParameterError(prefix + name, f"expected one of {', '.join(kind.__struct_fields__)}")
