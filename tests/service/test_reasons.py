"""docs/reasons.md has every reason code that an answer can carry, and no other."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from service.policy import words
from service.policy.constraints import HARD, SEVERITY
from service.policy.rule import DeclineClass
from service.policy.rules import FOLDER

ROOT = Path(__file__).parents[2]
POLICY = ROOT / "service" / "policy"
SOURCES = [
    *sorted(POLICY.glob("*.py")),
    ROOT / "service" / "answer.py",
    ROOT / "service" / "explain.py",
]
ROW = re.compile(r"^\| `([a-z0-9_]+)` \|", re.MULTILINE)
CODE = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")


def documented() -> dict[str, set[str]]:
    """Return the codes of each section of the page."""
    page = (ROOT / "docs" / "reasons.md").read_text(encoding="utf-8")
    sections = {}
    for section in page.split("\n## ")[1:]:
        codes = ROW.findall(section)
        assert len(codes) == len(set(codes)), section.partition("\n")[0]
        sections[section.partition("\n")[0]] = set(codes)
    return sections


def literal(node: ast.expr) -> str | None:
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value)
    return str(node.value) if is_text else None  # type: ignore[attr-defined]


def written(tree: ast.AST) -> Iterator[str]:
    """Yield the codes of reasons in a module: of `Reason`, of `service.policy.words`, and of what settles a permit."""
    for node in ast.walk(tree):
        found: ast.expr | None = None
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if called == "Reason":
                found = next((keyword.value for keyword in node.keywords if keyword.arg == "code"), None)
            elif called == "_settle":
                found = node.args[1]
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "words":
            yield getattr(words, node.attr)[0]
        if found is not None and (code := literal(found)) is not None:
            yield code


def reasons() -> set[str]:
    found = {code for source in SOURCES for code in written(ast.parse(source.read_text(encoding="utf-8")))}
    found |= {said[0] for name, said in vars(words).items() if name.isupper() and isinstance(said, tuple)}
    found |= {f"class_{name}" for name in get_args(DeclineClass)}
    for file in FOLDER.glob("*.toml"):
        rules = tomllib.loads(file.read_text(encoding="utf-8"))
        found |= {rule["tells"] for table in rules.values() for rule in table if rule.get("tells")}
    return found


def test_every_reason_is_documented_and_every_documented_one_is_given() -> None:
    sections = documented()
    assert sections["Auth and routing"] | sections["Retry"] == reasons()
    assert not sections["Auth and routing"] & sections["Retry"]


def test_no_reason_has_words_that_nobody_says() -> None:
    said = {code for name in ("choice.py", "exemption.py") for code in written(ast.parse((POLICY / name).read_text()))}
    assert said >= {words_of[0] for words_of in vars(words).values() if isinstance(words_of, tuple)}


def test_every_objection_to_a_candidate_is_documented() -> None:
    assert documented()["Candidates"] == {*HARD, *SEVERITY}


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        ('Reason(code="one", detail="d")', ["one"]),
        ("said.append((*words.RISK_TIER, (risk, tier, terms.tiers)))", ["risk_tier"]),
        ('self._settle("stop", "four", detail)', ["four"]),
        ('("auth", "routing", "retry")', []),
        ("Reason(code=code, detail=detail)", []),
    ],
)
def test_codes_are_found_where_they_are_written(source: str, codes: list[str]) -> None:
    assert list(written(ast.parse(source))) == codes
