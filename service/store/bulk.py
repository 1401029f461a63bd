"""Packed states written to a store in bulk: what a trainer's backfill needs, without an event loop."""

from collections.abc import Iterable
from itertools import islice

import redis

from features.layout import LAYOUTS
from service.errors import StoreTimeout, StoreUnavailable
from service.store.base import STATE, Item
from service.store.lane import CONNECT_SECONDS, sentence


def put_many(url: str, items: Iterable[Item], *, chunk: int = 500, timeout_seconds: float = 30.0) -> int:
    """Write packed states over whatever is there, in pipelines of `chunk`; return how many. Blocking, for backfills.

    Raises
    ------
    StoreTimeout, StoreUnavailable
        When Redis cannot be reached, is too slow or refuses; what was written before stays.
    """
    client = redis.Redis.from_url(url, socket_timeout=timeout_seconds, socket_connect_timeout=CONNECT_SECONDS)
    written = 0
    source = iter(items)
    try:
        while part := list(islice(source, chunk)):
            pipeline = client.pipeline(transaction=False)
            for kind, key, blob in part:
                pipeline.set(f"{STATE}{kind}:{key}", blob, ex=LAYOUTS[kind].ttl_seconds)
            pipeline.execute()
            written += len(part)
    except redis.TimeoutError as error:
        raise StoreTimeout(timeout_seconds * 1000) from error
    except (redis.RedisError, OSError) as error:
        raise StoreUnavailable(sentence(error)) from error
    finally:
        client.close()
    return written
