"""``python -m service keys add|list|revoke|rotate``: makes, shows and ends API keys.

A key is printed once, when it is made. A running service takes up a change within a second.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from service.access import keyfile
from service.access.caller import SCOPES
from service.errors import ServiceError

_LONGEST_DAYS: Final = 3_650


def main(arguments: Sequence[str], default: Path) -> int:
    """Run one command; return its exit code (0 done, 2 refused with one sentence on standard error).

    Parameters
    ----------
    arguments
        What follows ``keys`` on the command line.
    default
        The file of keys that is meant when none is named.
    """
    parser = _parser(default)
    told = parser.parse_args(arguments or ["--help"])
    path: Path = told.file
    try:
        match told.act:
            case "add":
                lasts = None if told.days is None else timedelta(days=told.days)
                scopes = [scope.strip() for scope in told.scope.split(",")]
                _show(keyfile.add(path, name=told.name, scopes=scopes, lasts=lasts, rate=told.rate, burst=told.burst))
            case "rotate":
                _show(keyfile.rotate(path, told.id, grace=timedelta(hours=told.grace_hours)))
                _say(f"the key {told.id} ends in {told.grace_hours:g} hours, or when it would have anyway")
            case "revoke":
                key = keyfile.revoke(path, told.id)
                _say(f"revoked: {key.id} ({key.name})")
            case _:
                _list(path)
    except ServiceError as error:
        _say(f"pointsman: {error}")
        return 2
    return 0


def _parser(default: Path) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service keys", description=(__doc__ or "").split("\n", 1)[0])
    acts = parser.add_subparsers(dest="act", metavar="add|list|revoke|rotate", required=True)
    file = argparse.ArgumentParser(add_help=False)
    file.add_argument("--file", type=Path, default=default, help=f"file of keys (default: {default})")
    add = acts.add_parser("add", parents=[file], help="make a key and show it, once")
    add.add_argument("--name", required=True, help="whose it is, such as gateway-eu")
    add.add_argument("--scope", required=True, help=f"comma list out of {', '.join(SCOPES)}")
    add.add_argument("--days", type=_days, help="how long it works (default: until it is revoked)")
    add.add_argument("--rate", type=_rate, help="requests a second (default: POINTSMAN_RATE; 0: no limit)")
    add.add_argument("--burst", type=_burst, help="requests at once (default: those of a second)")
    acts.add_parser("list", parents=[file], help="show every key, without its secret")
    revoke = acts.add_parser("revoke", parents=[file], help="end a key now")
    revoke.add_argument("id")
    rotate = acts.add_parser("rotate", parents=[file], help="make a key like another one, which ends after a while")
    rotate.add_argument("id")
    rotate.add_argument("--grace-hours", type=_hours, default=24.0, help="how long both work (default: 24)")
    return parser


def _list(path: Path) -> None:
    now = datetime.now(UTC)
    for key in keyfile.read(path):
        state = "works" if keyfile.works(key, now) else "revoked" if key.revoked_at is not None else "ended"
        ends = "" if key.expires_at is None else f" until {key.expires_at:%Y-%m-%d %H:%M} UTC"
        limit = "" if key.rate is None else f", {key.rate:g}/s at most"
        print(  # noqa: T201
            f"{key.id}  {state}{ends}  {key.name}  {','.join(key.scopes)}{limit}  made {key.made_at:%Y-%m-%d %H:%M} UTC"
        )


def _show(made: keyfile.Made) -> None:
    _say(
        f"the key {made.key.id} ({made.key.name}: {', '.join(made.key.scopes)}); it is shown this once and kept nowhere:"
    )
    # Alone on standard output, so that it can go straight to where it is needed.
    print(made.text)  # noqa: T201


def _say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")


def _days(raw: str) -> int:
    return int(_number(raw, 1, _LONGEST_DAYS))


def _hours(raw: str) -> float:
    return _number(raw, 0, 24 * 365)


def _rate(raw: str) -> float:
    return _number(raw, 0, 1_000_000)


def _burst(raw: str) -> int:
    return int(_number(raw, 1, 1_000_000))


def _number(raw: str, low: float, high: float) -> float:
    value = float(raw)
    if not low <= value <= high:
        msg = f"expected {low:g} to {high:g}"
        raise argparse.ArgumentTypeError(msg)
    return value
