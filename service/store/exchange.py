"""Commands sent over one connection to Redis, and their replies.

This module must not know what a command does.
"""

from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError

from service.store.command import Arguments, in_full, packed
from service.store.wire import Wire


async def exchange(wire: Wire, commands: Sequence[Arguments | bytes]) -> list[Any]:
    """Send commands and return their replies, an error reply in its place."""
    return await wire.ask([packed(command) for command in commands], len(commands))


async def scripts(wire: Wire, commands: Sequence[Arguments | bytes]) -> list[Any]:
    """Do the same as `exchange`; a server that does not know the script yet is told it."""
    replies = await exchange(wire, commands)
    unknown = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if unknown:
        # Nothing was changed by these: send them again, the first with the whole script.
        again = [commands[place] for place in unknown]
        again[0] = in_full(again[0])
        for place, reply in zip(unknown, await exchange(wire, again), strict=True):
            replies[place] = reply
    return replies
