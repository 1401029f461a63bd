"""A share of what ``python -m benchmarks.fuzz`` sends; and planted faults, which it must find."""

import asyncio
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.fuzz.__main__ import main, run
from benchmarks.fuzz.corpus import KINDS, Case, Corpus
from benchmarks.fuzz.judge import complaint
from benchmarks.fuzz.reached import Reached
from benchmarks.fuzz.target import Seen
from contracts.payment import Payment
from contracts.problem import Problem
from service.http import checks, pan

NEVER = 1e9
"""Milliseconds: tests say nothing of time."""


def test_a_share_of_it_finds_nothing_and_reaches_nearly_all(bundle_shelf: Path) -> None:
    report = asyncio.run(run(bundle_shelf, 8_000, 11, NEVER))
    assert [wrong for wrong, _ in report.complaints] == []
    assert report.inputs == sum(report.answers.values()) == 8_000
    statuses = {answer.split()[0] for answer in report.answers}
    assert (
        {"200", "400", "405", "409", "413", "415", "422"}
        <= statuses
        <= {"200", "400", "405", "409", "413", "415", "422", "none:"}
    )
    assert report.answers["200 "] > 500
    assert report.share > 0.85, report.missing


def test_a_crash_in_an_answer_is_found(bundle_shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(payment: Payment) -> None:
        if payment.attempt > 2:
            msg = "a fault of many attempts"
            raise KeyError(msg)

    monkeypatch.setattr(checks, "check_payment", faulty)
    report = asyncio.run(run(bundle_shelf, 4_000, 1, NEVER))
    assert "status 500" in {wrong for wrong, _ in report.complaints}


def test_a_card_number_that_is_let_in_is_found(bundle_shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pan, "holds_number", lambda _: False)
    report = asyncio.run(run(bundle_shelf, 4_000, 1, NEVER))
    assert "a card number was let in" in {wrong for wrong, _ in report.complaints}


def test_an_answer_that_takes_too_long_is_found(bundle_shelf: Path) -> None:
    report = asyncio.run(run(bundle_shelf, 100, 1, -1.0))
    assert all(wrong.startswith("it took ") for wrong, _ in report.complaints)
    assert len(report.complaints) == 20


def test_the_command_says_what_it_found_and_keeps_it(
    bundle_shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.fuzz.__main__.kept_shelf", lambda: bundle_shelf)
    arguments = ["--inputs", "200", "--save", str(tmp_path / "found"), "--missing"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "200 inputs in" in said
    assert "crashes and answers of 5xx: 0; complaints: 0" in said
    assert main([*arguments, "--slow-ms", "-1"]) == 1
    assert len(list((tmp_path / "found").glob("*.body"))) == 20


def test_the_same_seed_makes_the_same_cases() -> None:
    one, two = Corpus(random.Random(5)), Corpus(random.Random(5))
    # NaN is not itself, and so may the values that cases are made of be.
    assert [repr(one.next()) for _ in range(500)] == [repr(two.next()) for _ in range(500)]
    assert {one.next().kind for _ in range(300)} == set(KINDS)


CASE = Case("auth", "POST", (), (b'{"payment_id":"pay_1"}',))


def answered(status: int, content: Any, media: bytes = b"application/problem+json", **changes: Any) -> Seen:
    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    headers = {b"content-type": media, b"content-length": b"%d" % len(body), b"x-content-type-options": b"nosniff"}
    return Seen(status, headers, body, None, 0.0, 2)._replace(**changes)


def refused(**changes: Any) -> Problem:
    told = Problem(type="t", title="t", status=422, code="out_of_range", detail="expected less", path="$.a")
    return msgspec.structs.replace(told, **changes)


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        (answered(422, refused(), escaped=KeyError("x")), "an exception escaped"),
        (answered(500, refused(status=500)), "status 500"),
        (answered(503, refused(status=503)), "status 503"),
        (answered(422, refused(), messages=0), "0 messages"),
        (answered(422, refused(), messages=3), "3 messages"),
        (answered(422, refused(), headers={}), "content-length"),
        (answered(422, refused(), headers={b"content-length": b"111"}), "content-length"),
        (answered(422, refused(), b"text/plain"), "no problem"),
        (answered(422, b"{}"), "the problem is not of the contract"),
        (answered(422, refused(code="unheard_of")), "does not go with"),
        (answered(400, refused(status=400)), "does not go with"),
        (answered(422, refused(path="a")), "the path is none"),
        (answered(422, refused(path="$.a4111111111111111")), "a card number came back"),
        (answered(422, refused(detail="the body does not match its contract")), "without a reason"),
        (answered(200, b"{}", b"text/html"), "in no form"),
        (answered(200, b"{}", b"application/json"), "the answer is not of the contract"),
    ],
)
def test_what_must_not_be_is_complained_about(seen: Seen, wrong: str) -> None:
    assert wrong in str(complaint(CASE, seen))


def test_what_may_be_is_not() -> None:
    assert complaint(CASE, answered(422, refused())) is None
    assert complaint(CASE._replace(gone=True), answered(422, refused(), messages=0)) is None


def test_an_accepted_card_number_is_seen_by_another_reader() -> None:
    receipt = answered(200, b'{"results":["applied"]}', b"application/json")
    for body, let_in in (
        (b'{"a":[{"b":"x 4111111111111111 y"}]}', True),
        (b'{"4111111111111111":1}', True),
        (b'{"a":4111111111111111}', True),
        (b'{"a":4111111111111112}', False),
        (b'{"a":"4111 1111\\u00a01111 1111"}', True),
        ('{"a":"٤١١١١١١١١١١١١١١١"}'.encode(), True),
        (b'{"a":"41111111111111111"}', False),
        (b'{"a":"aaaaaaaa4111111111111111"}', False),
        (b'{"a":1', False),
    ):
        told = complaint(Case("outcomes", "POST", (), (body,)), receipt)
        assert (told == "a card number was let in") is let_in


def test_lines_count_when_they_run_first(tmp_path: Path) -> None:
    file = tmp_path / "watched.py"
    file.write_text(
        "def sign(x):\n    if x < 0:\n        return 'minus'\n    return 'plus'\n\n\nclass Box:\n    full = True\n"
    )
    names: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), names)
    with Reached([file]) as reached:
        assert not reached.take()
        names["sign"](1)
        assert reached.take()
        names["sign"](2)
        assert not reached.take()
        assert [line.number for line in reached.missing] == [3]
        names["sign"](-1)
        assert reached.take()
    assert reached.missing == []
    assert {line.number for line in reached.all} == {2, 3, 4}
