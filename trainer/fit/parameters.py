"""What a shop may say beside its history, as TOML files: fees, terms, and the parameters of its policy."""

import math
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from contracts.bundle import PolicyParameters
from contracts.terms import Capability, FeeSchedule, MerchantTerms
from service.policy.defaults import FILE, default_parameters
from service.policy.errors import PolicyError
from trainer.errors import FitError


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What processors support, and what merchants have agreed or want otherwise."""

    processors: dict[str, Capability] = msgspec.field(default_factory=dict)
    merchants: dict[str, MerchantTerms] = msgspec.field(default_factory=dict)


class _Fees(msgspec.Struct, frozen=True, kw_only=True):
    processors: dict[str, FeeSchedule] = msgspec.field(default_factory=dict)


def read_fees(path: Path | None) -> dict[str, FeeSchedule]:
    """Read what each processor charges: a TOML file with ``[processors.NAME]`` tables of `FeeSchedule` fields.

    Raises
    ------
    FitError
        The file cannot be read, says something unknown, or charges less than nothing.
    """
    if path is None:
        return {}
    fees = _converted(path, "fees", _Fees).processors
    for name, fee in fees.items():
        _least(path, "fees", f"processors.{name}", fee)
        for number, line in enumerate(fee.lines):
            _least(path, "fees", f"processors.{name}.lines[{number}]", line)
    return fees


def read_terms(path: Path | None) -> Terms:
    """Read what was agreed: a TOML file with ``[processors.NAME]`` tables of `Capability` and ``[merchants.ID]`` ones of
    `MerchantTerms` fields.

    Raises
    ------
    FitError
        The file cannot be read, says something unknown, or contradicts itself.
    """
    if path is None:
        return Terms()
    terms = _converted(path, "terms", Terms)
    for name, capability in terms.processors.items():
        for number, outage in enumerate(capability.outages):
            where = f"processors.{name}.outages[{number}]"
            if outage.begins.tzinfo is None or outage.ends.tzinfo is None:
                msg = f"the terms file {path}: expected {where} to have times with an offset"
                raise FitError(msg)
            if outage.ends <= outage.begins:
                msg = f"the terms file {path}: expected {where} to end after {outage.begins}, got {outage.ends}"
                raise FitError(msg)
    for name, merchant in terms.merchants.items():
        _least(path, "terms", f"merchants.{name}", merchant)
        for field in ("tier_medium", "tier_high", "challenge_from", "review_from", "decline_from", "minimum_approval"):
            value = getattr(merchant, field)
            if value is not None and value > 1:
                msg = f"the terms file {path}: expected merchants.{name}.{field} to be a share of 0 to 1, got {value}"
                raise FitError(msg)
        for processor, volume in merchant.volumes.items():
            _least(path, "terms", f"merchants.{name}.volumes.{processor}", volume)
    return terms


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


T = TypeVar("T", bound=msgspec.Struct)


def _converted(path: Path, what: str, kind: type[T]) -> T:
    raw = _toml(path, what)
    try:
        found = msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        msg = f"the {what} file {path} is not what was expected: {error}"
        raise FitError(msg) from error
    _refuse_unknown(path, what, raw, found, "")
    return found


def _refuse_unknown(path: Path, what: str, raw: Any, found: Any, where: str) -> None:
    """Refuse a key that was not taken over: a misspelt one would silently count for nothing."""
    if isinstance(raw, dict):
        known = found.__struct_fields__ if isinstance(found, msgspec.Struct) else tuple(found)
        for name, value in raw.items():
            if name not in known:
                msg = f"the {what} file {path}: unknown {where}{name}, expected one of {', '.join(known)}"
                raise FitError(msg)
            inner = getattr(found, name) if isinstance(found, msgspec.Struct) else found[name]
            _refuse_unknown(path, what, value, inner, f"{where}{name}.")
    elif isinstance(raw, list) and raw and isinstance(raw[0], dict):
        for number, (value, inner) in enumerate(zip(raw, found, strict=True)):
            _refuse_unknown(path, what, value, inner, f"{where.rstrip('.')}[{number}].")


def _least(path: Path, what: str, where: str, table: msgspec.Struct) -> None:
    """Refuse numbers below 0 and those that are none."""
    for field in table.__struct_fields__:
        value = getattr(table, field)
        if isinstance(value, int | float) and (value < 0 or not math.isfinite(value)):
            msg = f"the {what} file {path}: expected {where}.{field} to be 0 or more, got {value}"
            raise FitError(msg)
