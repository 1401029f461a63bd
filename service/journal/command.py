"""``python -m service journal ls|cat|verify``: what a journal holds, beside a service that writes it or without one."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from service.errors import JournalUnavailable
from service.journal.cursor import count_in
from service.journal.index import path_of
from service.journal.lookup import find_in
from service.journal.reader import Entry, Gap, JournalReader
from service.journal.verify import verify
from service.settings import Settings

WELL, WRONG, UNREADABLE = 0, 1, 2
"""Exit codes."""

_encode: Final = msgspec.json.Encoder().encode


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments ask for; return the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        return int(chosen.does(chosen))
    except (JournalUnavailable, OSError) as error:
        sys.stderr.write(f"pointsman: {error}\n")
        return UNREADABLE
    except (KeyboardInterrupt, BrokenPipeError):
        return WELL


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service journal", description="Look at a journal.")
    commands = parser.add_subparsers(required=True, metavar="ls|cat|verify")

    def command(name: str, does: Any, what: str) -> argparse.ArgumentParser:
        own = commands.add_parser(name, help=what, description=what)
        own.add_argument(
            "--journal", type=Path, default=Settings().journal, help="folder of the journal (default %(default)s)"
        )
        own.set_defaults(does=does)
        return own

    command("ls", _list, "List the segments of every worker.")
    cat = command("cat", _print, "Print events as lines of JSON.")
    cat.add_argument("--decision", metavar="ID", help="the decision of this id alone, whoever made it")
    cat.add_argument("--writer", help="events of this worker alone (default: of all, one worker after the other)")
    cat.add_argument("--after", type=int, default=0, metavar="NUMBER", help="events numbered above this")
    cat.add_argument("--limit", type=int, help="so many events at most")
    cat.add_argument("--follow", action="store_true", help="go on with what comes, until interrupted")
    command("verify", _verify, "Check every checksum, number and index; exit 1 when something is wrong.")
    return parser


def _list(chosen: argparse.Namespace) -> int:
    lines = ["writer  state    first number     events        bytes  index  last written"]
    with JournalReader(chosen.journal) as reader:
        for log in reader.logs():
            for place, segment in enumerate(log.segments):
                is_last = place == len(log.segments) - 1
                state = "open" if is_last and log.is_live else "sealed" if path_of(segment.path).exists() else "ended"
                try:
                    about = segment.path.stat()
                    events = count_in(segment)[0]
                except FileNotFoundError:
                    continue
                written = datetime.fromtimestamp(about.st_mtime, UTC).isoformat(timespec="seconds")
                indexed = "yes" if path_of(segment.path).exists() else "no"
                lines.append(
                    f"{log.writer:<7} {state:<7} {segment.first:>13,} {events:>10,} {about.st_size:>12,}  {indexed:<5}  {written}"
                )
    sys.stdout.write("\n".join(lines) + "\n")
    return WELL


def _print(chosen: argparse.Namespace) -> int:
    if chosen.decision is not None:
        event = find_in(chosen.journal, chosen.decision)
        if event is None:
            sys.stderr.write("pointsman: no decision of this id is in the journal\n")
            return WRONG
        sys.stdout.write(_encode(event).decode() + "\n")
        return WELL
    left = chosen.limit
    for found in _found(chosen):
        if found is None:
            sys.stdout.flush()
            continue
        if left is not None and left <= 0:
            break
        if isinstance(found, Gap):
            sys.stderr.write(f"pointsman: {gap_in_words(found)}\n")
            continue
        sys.stdout.write(_line(found))
        left = left if left is None else left - 1
    return WELL


def _found(chosen: argparse.Namespace) -> Iterator[Entry | Gap | None]:
    with JournalReader(chosen.journal) as reader:
        writers = reader.writers() if chosen.writer is None else [chosen.writer]
        if chosen.follow:
            after = dict.fromkeys(writers, chosen.after)
            for found in reader.follow(after):
                if found is None or found.writer in writers or chosen.writer is None:
                    yield found
            return
        for writer in writers:
            yield from reader.walk(writer, chosen.after)


def _line(entry: Entry) -> str:
    head = {"writer": entry.writer, "number": entry.number}
    try:
        line = _encode({**head, "event": entry.event()})
    except JournalUnavailable as error:
        line = _encode({**head, "unreadable": error.reason})
    return line.decode() + "\n"


def gap_in_words(gap: Gap) -> str:
    """Return what is missing, as a sentence."""
    if gap.reason == "behind":
        return f"the log of writer {gap.writer} ends at {gap.last}, before the position asked for"
    if gap.reason == "deleted":
        return f"events {gap.first} to {gap.last} of writer {gap.writer} were deleted"
    return f"events {gap.first} to {gap.last} of writer {gap.writer} cannot be read"


def _verify(chosen: argparse.Namespace) -> int:
    verified = verify(chosen.journal)
    wrong = [finding for finding in verified.findings if finding.is_wrong]
    for finding in verified.findings:
        sys.stdout.write(f"{'WRONG' if finding.is_wrong else 'note'}  {finding.where}: {finding.what}\n")
    sys.stdout.write(f"{verified.events:,} events in {verified.segments:,} segments, {len(wrong):,} things wrong\n")
    return WRONG if wrong else WELL
