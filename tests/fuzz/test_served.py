"""A share of what ``python -m benchmarks.fuzz.served`` sends, and what it would not miss."""

import re
from pathlib import Path

import pytest

from benchmarks.fuzz import forms, served


def test_a_served_schema_stands_every_check(bundle_shelf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = served.attack_own(bundle_shelf, 15, 1, ["--phases", "examples,coverage,fuzzing"])
    said = capfd.readouterr().out
    assert code == 0, said
    generated = re.search(r"([0-9]+) generated, ([0-9]+) passed", said)
    assert generated is not None, said
    assert int(generated[1]) == int(generated[2]) > 500, said


def test_messagepack_takes_what_json_can_say() -> None:
    value = {"a": [10**30, -(10**30), 10**400, 5, "x", None, {"b": 1.5}]}
    assert forms._fitting(value) == {"a": [1e30, -1e30, 1e308, 5, "x", None, {"b": 1.5}]}
