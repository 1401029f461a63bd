"""What a shop may say beside its history: the fees of its processors and the parameters of its policy, as TOML files."""

import math
import tomllib
from pathlib import Path

import msgspec

from contracts.bundle import PolicyParameters
from contracts.terms import FeeSchedule
from service.policy.defaults import FILE, default_parameters
from service.policy.errors import PolicyError
from trainer.errors import FitError


def read_fees(path: Path | None) -> dict[str, FeeSchedule]:
    """Read what each processor charges: a TOML file with ``[processors.NAME]`` tables of `FeeSchedule` fields.

    Raises
    ------
    FitError
        The file cannot be read, says something unknown, or charges less than nothing.
    """
    if path is None:
        return {}
    raw = _toml(path, "fees")
    _refuse_unknown(path, raw, ("processors",), "")
    tables = raw.get("processors", {})
    fees: dict[str, FeeSchedule] = {}
    for name, table in tables.items() if isinstance(tables, dict) else ():
        if isinstance(table, dict):
            _refuse_unknown(path, table, FeeSchedule.__struct_fields__, f"processors.{name}.")
    try:
        fees = msgspec.convert(tables, dict[str, FeeSchedule])
    except msgspec.ValidationError as error:
        msg = f"the fees file {path} is not what was expected: {error}"
        raise FitError(msg) from error
    for name, fee in fees.items():
        for field in fee.__struct_fields__:
            value = getattr(fee, field)
            if value < 0 or not math.isfinite(value):
                msg = f"the fees file {path}: expected processors.{name}.{field} to be 0 or more, got {value}"
                raise FitError(msg)
    return fees


def read_policy(path: Path | None) -> PolicyParameters:
    """Return the policy parameters of a TOML file, or the documented defaults.

    Raises
    ------
    FitError
        The file cannot be read, or the policy refuses what it says.
    """
    if path is not None:
        _toml(path, "policy")
    try:
        return default_parameters(path or FILE)
    except PolicyError as error:
        msg = f"the policy file {path or FILE} is not what was expected: {error}"
        raise FitError(msg) from error


def _toml(path: Path, what: str) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"the {what} file {path} cannot be read: {error.strerror}"
        raise FitError(msg) from error
    except ValueError as error:
        msg = f"the {what} file {path} is not TOML: {error}"
        raise FitError(msg) from error


def _refuse_unknown(path: Path, table: dict[str, object], known: tuple[str, ...], prefix: str) -> None:
    for name in table:
        if name not in known:
            msg = f"the fees file {path}: unknown {prefix}{name}, expected one of {', '.join(known)}"
            raise FitError(msg)
