"""A log line is one JSON object, and holds nothing a gateway sent."""

import io
import logging
from collections.abc import Iterator

import msgspec
import pytest

from service import logs
from service.errors import JournalUnavailable


@pytest.fixture
def lines() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    logger = logging.getLogger("tests.lines")
    logger.propagate = False
    logger.addHandler(handler)
    yield logger, stream
    logger.removeHandler(handler)


def test_a_line_is_one_json_object_with_its_fields(lines: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = lines
    logger.warning("two\nlines of %s", "text", extra={"fields": {"route": "/x"}})
    (line,) = stream.getvalue().splitlines()
    decoded = msgspec.json.decode(line)
    assert (decoded["level"], decoded["message"], decoded["route"]) == ("warning", "two\nlines of text", "/x")
    assert decoded["at"].endswith("+00:00")


def test_a_foreign_exception_is_logged_with_its_stack_and_without_its_message(
    lines: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, stream = lines
    try:
        try:
            raise KeyError("canary")
        except KeyError as cause:
            raise ValueError("canary") from cause
    except ValueError:
        logger.exception("unexpected")
    decoded = msgspec.json.decode(stream.getvalue())
    assert [entry["type"] for entry in decoded["exception"]] == ["builtins.ValueError", "builtins.KeyError"]
    assert "test_logs.py" in decoded["exception"][0]["stack"][-1]
    assert "canary" not in stream.getvalue()


def test_an_error_of_our_own_keeps_its_sentence() -> None:
    (entry,) = logs.describe(JournalUnavailable("disk full"))
    assert entry["message"] == "the journal is unavailable: disk full"


def test_configuring_leaves_one_handler_and_no_access_log() -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logs.configure("error")
        logs.configure("error")
        assert (len(root.handlers), root.level) == (1, logging.ERROR)
        assert logging.getLogger("uvicorn.access").disabled
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.getLogger("uvicorn.access").disabled = False


def test_a_line_that_would_come_too_often_is_kept_back_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    seldom = logs.Seldom(1.0)
    assert seldom.kept_back(("auth", "KeyError")) == 0
    assert seldom.kept_back(("auth", "KeyError")) is None
    assert seldom.kept_back(("auth", "KeyError")) is None
    assert seldom.kept_back(("retry", "KeyError")) == 0
    now = 101.5
    assert seldom.kept_back(("auth", "KeyError")) == 2
