"""A look at a Redis server at the start: what will never work is said then, and not with the first payment."""

from typing import Final

from redis.exceptions import NoPermissionError, ResponseError

from service.errors import StoreUnavailable
from service.store.command import trial
from service.store.exchange import exchange
from service.store.lane import sentence
from service.store.wire import Wire

OLDEST: Final = (6, 0)
"""The oldest Redis served."""


async def examine(wire: Wire, tag: str | None = None) -> str | None:
    """Try every command that will be sent; return what is wrong for now, or None.

    Parameters
    ----------
    wire
        To the server.
    tag
        For a node of a cluster: what puts a key into one of its slots. None for a single server.

    Raises
    ------
    StoreUnavailable
        For a server that will never do: too old, in cluster mode where none is expected, or refusing a right that is needed.
    """
    (about,) = await exchange(wire, [("INFO", "server")])
    if isinstance(about, bytes):
        check(about.decode(), cluster=tag is not None)
    commands = trial(tag or "")
    replies = await exchange(wire, [command for _, command in commands])
    for (what, _), reply in zip(commands, replies, strict=True):
        if isinstance(reply, ResponseError):
            told = sentence(reply)
            if isinstance(reply, NoPermissionError) or "unknown command" in told or "CROSSSLOT" in told:
                msg = f"the server refuses {what} on keys pm:*: {told}"
                raise StoreUnavailable(msg)
            return told
    return None


def check(about: str, *, cluster: bool = False) -> None:
    """Raise `StoreUnavailable` when what a server says of itself (``INFO server``) rules it out."""
    lines = dict(line.split(":", 1) for line in about.splitlines() if ":" in line)
    version = lines.get("redis_version", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        msg = f"Redis {wanted} or newer is expected, this server is {version or 'of no known version'}"
        raise StoreUnavailable(msg)
    if lines.get("redis_mode") == "cluster" and not cluster:
        msg = "a single Redis is expected, this one is in cluster mode: name it cluster://host:port"
        raise StoreUnavailable(msg)
