"""Commands sent over one connection to Redis, and their replies.

This module must not know what a command does.
"""

from collections.abc import Sequence
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ResponseError

from service.store.command import Arguments, in_full, packed


async def exchange(connection: AbstractConnection, commands: Sequence[Arguments | bytes]) -> list[Any]:
    """Send commands and return their replies, an error reply in its place."""
    await connection.send_packed_command([packed(command) for command in commands], check_health=False)
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(await connection.read_response(disable_decoding=True))
        except ResponseError as error:
            replies.append(error)
    return replies


async def scripts(connection: AbstractConnection, commands: Sequence[Arguments | bytes]) -> list[Any]:
    """Do the same as `exchange`; a server that does not know the script yet is told it."""
    replies = await exchange(connection, commands)
    unknown = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if unknown:
        # Nothing was changed by these: send them again, the first with the whole script.
        again = [commands[place] for place in unknown]
        again[0] = in_full(again[0])
        for place, reply in zip(unknown, await exchange(connection, again), strict=True):
            replies[place] = reply
    return replies
