"""The catalog: names, groups, fingerprint, and what a spec refuses."""

import dataclasses

import pytest

from features import catalog
from features.catalog import BY_SCOPE, CATALOG, GROUPS, NAMES, USES, inputs
from features.clock import DAY, HOUR, MINUTE, SECOND
from features.decline import CLASSES, decline_class
from features.entity import FIELDS, KINDS, key
from features.increment import CODES
from features.layout import LAYOUTS
from features.spec import STATE_OPERATIONS, count, decayed, distinct, last, rate, since, span, streak


def test_names_are_unique_and_plain() -> None:
    assert len(set(NAMES)) == len(NAMES) == len(CATALOG) >= 80
    assert all(name.replace("_", "").isalnum() and name == name.lower() for name in NAMES)


def test_every_kind_every_operation_and_the_shortest_and_longest_window_are_in_use() -> None:
    assert {spec.entity for spec in CATALOG if spec.entity} == set(KINDS) == set(LAYOUTS) == set(FIELDS)
    assert {spec.operation for spec in CATALOG} >= set(STATE_OPERATIONS)
    widths = {spec.width for spec in CATALOG if spec.operation in ("count", "rate")}
    assert (min(widths), max(widths)) == (MINUTE, 90 * DAY)


def test_every_model_sees_groups_that_exist_and_no_label_of_another() -> None:
    for model, groups in USES.items():
        assert set(groups) <= set(GROUPS)
        assert [spec.name for spec in inputs(model)] == [
            spec.name for name, specs in GROUPS.items() if name in groups for spec in specs
        ]
    assert not {spec.target for spec in inputs("risk")} & {"approval", "retry"}
    assert not {spec.target for spec in inputs("approval")} & {"chargeback", "retry"}
    assert {spec.scope for spec in inputs("risk")} == {"payment"}
    assert set(inputs("retry")) >= set(BY_SCOPE["retry"])


def test_the_fingerprint_changes_with_any_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {catalog.fingerprint()}
    for change in ({"default": -2.0}, {"inputs": ("currency",)}, {"name": "other"}):
        altered = (dataclasses.replace(CATALOG[0], **change), *CATALOG[1:])
        monkeypatch.setattr(catalog, "CATALOG", altered)
        seen.add(catalog.fingerprint())
    monkeypatch.setattr(catalog, "CATALOG", (CATALOG[1], CATALOG[0], *CATALOG[2:]))
    seen.add(catalog.fingerprint())
    assert len(seen) == 5


def test_a_window_is_served_by_the_finest_ring_that_reaches_far_enough() -> None:
    assert count("card", "attempts", HOUR).hop == LAYOUTS["card"].rings[0].hop
    assert count("card", "attempts", DAY).hop == LAYOUTS["card"].rings[1].hop
    assert since("card", "attempt").width == LAYOUTS["card"].horizon


def test_each_feature_says_when_what_it_counts_becomes_known() -> None:
    clocks = {
        count("card", "attempts", HOUR): "decided_at",
        rate("merchant", "chargebacks", "attempts", DAY): "chargeback_at, decided_at",
        rate("card", "approved", "results", DAY): "settled_at",
        distinct("card", DAY): "decided_at",
        since("card", "approved"): "settled_at",
        last("card", "amount_minor"): "decided_at",
        last("card", "funds"): "settled_at",
        streak("card"): "settled_at",
        decayed("card", "approved"): "settled_at",
        CATALOG[0]: "",
    }
    assert {spec.name: spec.clock for spec in clocks} == {spec.name: clock for spec, clock in clocks.items()}


REFUSED = {
    "a measure the entity does not keep": (lambda: rate("bin", "approved", "declined", HOUR), "bin keeps attempts"),
    "an entity that is not there": (lambda: count("shop", "attempts", HOUR), "expected one of the entities card"),
    "a window past the horizon": (lambda: count("card", "attempts", 91 * DAY), "remembered for 90d"),
    "a window of no whole hops": (lambda: count("card", "attempts", HOUR + MINUTE), "whole number of hops"),
    "a set that is not kept": (lambda: distinct("merchant", HOUR), "remembers no different values"),
    "a streak that is not kept": (lambda: streak("merchant"), "no declines in a row"),
    "an unknown last value": (lambda: last("card", "colour"), "expected amount_minor or one of"),
    "an unknown moment": (lambda: since("card", "birth"), "expected one of attempt"),
    "a measure that is not decayed": (lambda: decayed("card", "funds"), "expected one of approved, technical"),
    "seconds in a name": (lambda: span(90 * SECOND), "whole minutes"),
}


@pytest.mark.parametrize(("make", "told"), REFUSED.values(), ids=REFUSED)
def test_a_spec_that_cannot_be_served_is_refused_with_the_reason(make, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def test_the_networks_own_meaning_of_a_code_comes_first() -> None:
    assert decline_class("mastercard", "65") == "authenticate"
    assert decline_class("visa", "65") == decline_class(None, "65") == "funds"
    assert decline_class("visa", None) is None
    assert decline_class("visa", "00") is None
    assert set(CLASSES.values()) < set(CODES)


def test_no_two_pairs_make_one_key() -> None:
    pairs = [("a", "b:c"), ("a:b", "c"), ("a|b", "c"), ("1", "1:"), ("11", ":"), ("", "x"), ("x", "")]
    assert len({key(*pair) for pair in pairs}) == len(pairs)
    assert key("a", None) is key(None, "b") is key(None) is None
