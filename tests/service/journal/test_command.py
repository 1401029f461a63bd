"""``python -m service journal``: what is there, as a table and as lines of JSON, and whether it is whole."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.journal.command import UNREADABLE, WELL, WRONG, main
from service.journal.frame import HEAD_SIZE
from service.journal.index import path_of
from service.journal.keeping import Keeping
from service.journal.log import Log
from service.journal.segment import START_SIZE, segments_in
from tests.journals import write
from tests.service.journal.test_reader import SMALL, indexed


@pytest.fixture
def journal(tmp_path: Path, auth_decided: Any, outcome_settled: Any) -> Path:
    folder = tmp_path / "journal"
    write(folder, [outcome_settled(f"pay_{number}") for number in range(30)], "0", keeping=SMALL)
    write(folder, [auth_decided("pay_1"), outcome_settled("pay_1")], "1")
    indexed(folder, "0")
    return folder


def test_every_segment_of_every_worker_is_listed(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(journal / "2", durable=True, keeping=Keeping())
    assert main(["ls", "--journal", str(journal)]) == WELL
    log.close()
    _, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(segments_in(journal / "0")) + 2
    assert [line.split()[:2] for line in lines[-3:]] == [["0", "sealed"], ["1", "ended"], ["2", "open"]]
    assert sum(int(line.split()[3]) for line in lines) == 32


def test_events_are_printed_as_lines_of_json(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cat", "--journal", str(journal)]) == WELL
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["writer"], line["number"]) for line in lines] == [
        *(("0", number) for number in range(1, 31)),
        ("1", 1),
        ("1", 2),
    ]
    assert lines[30]["event"]["answer"]["decision_id"] == "dec_pay_1_1"
    assert main(["cat", "--journal", str(journal), "--writer", "0", "--after", "7", "--limit", "2"]) == WELL
    assert [json.loads(line)["number"] for line in capsys.readouterr().out.splitlines()] == [8, 9]
    assert main(["cat", "--journal", str(journal), "--decision", "dec_pay_1_1"]) == WELL
    assert json.loads(capsys.readouterr().out)["type"] == "auth_decided"
    assert main(["cat", "--journal", str(journal), "--decision", "nobody"]) == WRONG
    assert "no decision of this id" in capsys.readouterr().err


def test_what_is_missing_is_said_beside_what_is_there(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, *_ = segments_in(journal / "0")
    first.path.unlink()
    assert main(["cat", "--journal", str(journal), "--writer", "0"]) == WELL
    said = capsys.readouterr()
    assert said.err == f"pointsman: events 1 to {second.first - 1} of writer 0 were deleted\n"
    assert json.loads(said.out.splitlines()[0])["number"] == second.first


def test_a_journal_that_is_whole_is_said_to_be(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--journal", str(journal)]) == WELL
    note, last = capsys.readouterr().out.splitlines()
    assert note.startswith("note")
    assert "has no index" in note
    assert last == f"32 events in {len(segments_in(journal / '0')) + 1} segments, 0 things wrong"


def damage(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("event", "event 1 is damaged: its checksum is wrong"),
        ("start", "expected a segment that begins with the number it is named by"),
        ("index", "is not the index of its segment"),
        ("deleted", "found"),
        ("cut", "bytes at its end are no whole event"),
        ("future", "cannot be read by this build"),
    ],
)
def test_what_is_wrong_is_named(journal: Path, capsys: pytest.CaptureFixture[str], kind: str, expected: str) -> None:
    first, second, *_ = segments_in(journal / "0")
    if kind == "event":
        damage(first.path, START_SIZE + HEAD_SIZE + 4)
    elif kind == "start":
        damage(first.path, 9)
    elif kind == "index":
        damage(path_of(first.path), -1)
    elif kind == "deleted":
        second.path.unlink()
    elif kind == "cut":
        content = first.path.read_bytes()
        first.path.write_bytes(content[:-3])
    else:
        from zlib import crc32

        from service.journal.frame import HEAD

        log = Log(journal / "0", durable=False, keeping=SMALL)
        log.write([HEAD.pack(4, crc32(b"\xa3abc", 0), 0, 0), b"\xa3abc"], HEAD.pack(4, crc32(b"\xa3abc", 0), 0, 0))
        log.close()
    assert main(["verify", "--journal", str(journal)]) == WRONG
    wrong = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WRONG")]
    assert any(expected in line for line in wrong), wrong


def test_it_runs_beside_the_service_and_says_where_there_is_nothing(journal: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "service", "journal", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    done = run("cat", "--journal", str(journal), "--writer", "1", "--limit", "1")
    assert (done.returncode, json.loads(done.stdout)["number"]) == (WELL, 1)
    done = run("ls", "--journal", str(journal / "nowhere"))
    assert done.returncode == UNREADABLE
    assert done.stderr.startswith("pointsman: the journal is unavailable: ")
    assert done.stderr.count("\n") == 1


def test_it_goes_on_with_what_comes(journal: Path, outcome_settled: Any) -> None:
    command = [
        sys.executable,
        "-m",
        "service",
        "journal",
        "cat",
        "--journal",
        str(journal),
        "--writer",
        "1",
        "--follow",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["number"] for _ in range(2)] == [1, 2]
        write(journal, [outcome_settled("pay_9")], "1")
        assert json.loads(process.stdout.readline())["number"] == 3
    finally:
        process.terminate()
        process.communicate(timeout=30)
