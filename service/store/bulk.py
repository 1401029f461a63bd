"""Packed states written and read in bulk: what a trainer's backfill and a look at many states need, without an event loop."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import redis
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, ResponseError

from features.layout import LAYOUTS
from service.errors import StoreTimeout, StoreUnavailable
from service.store.address import Address
from service.store.base import STATE, Item, clustered
from service.store.lane import sentence


def put_many(url: str, items: Iterable[Item], *, chunk: int = 500, timeout_seconds: float = 30.0) -> int:
    """Write packed states over whatever is there, in pipelines of `chunk`; return how many. Blocking, for backfills.

    Raises
    ------
    StoreTimeout, StoreUnavailable
        When Redis cannot be reached, is too slow or refuses; what was written before stays.
    """
    written = 0
    source = iter(items)
    with _client(url, timeout_seconds) as (client, is_cluster):
        while part := list(islice(source, chunk)):
            pipeline = client.pipeline(transaction=False)
            for kind, key, blob in part:
                pipeline.set(_name(kind, key, is_cluster), blob, ex=LAYOUTS[kind].ttl_seconds)
            pipeline.execute()
            written += len(part)
    return written


def fetch_many(
    url: str, items: Iterable[tuple[str, str]], *, chunk: int = 500, timeout_seconds: float = 30.0
) -> Iterator[bytes | None]:
    """Yield the packed state of each (kind, key), None where there is none, in pipelines of `chunk`. Blocking.

    Raises
    ------
    StoreTimeout, StoreUnavailable
        When Redis cannot be reached, is too slow or refuses.
    """
    source = iter(items)
    with _client(url, timeout_seconds) as (client, is_cluster):
        while part := list(islice(source, chunk)):
            names = [_name(kind, key, is_cluster) for kind, key in part]
            if is_cluster:
                pipeline = client.pipeline(transaction=False)
                for name in names:
                    pipeline.get(name)
                values = pipeline.execute(raise_on_error=False)
            else:
                values = client.mget(names)
            for value in values:
                if isinstance(value, Exception) and not _is_of_another_type(value):
                    raise value
                yield value if isinstance(value, bytes) else None


def _is_of_another_type(error: Exception) -> bool:
    """Tell whether a key held no string: no state then, as MGET says it."""
    return isinstance(error, ResponseError) and "WRONGTYPE" in str(error)


def _name(kind: str, key: str, is_cluster: bool) -> str:
    return clustered(kind, key) if is_cluster else f"{STATE}{kind}:{key}"


@contextmanager
def _client(url: str, timeout_seconds: float) -> Iterator[tuple[Any, bool]]:
    """Lend a blocking client, and say whether it is one of a cluster; what it raises becomes an error of the store."""
    try:
        client = Address(url).blocking(timeout_seconds)
        try:
            yield client, isinstance(client, RedisCluster)
        finally:
            client.close()
    except redis.TimeoutError as error:
        raise StoreTimeout(timeout_seconds * 1000) from error
    except (redis.RedisError, RedisClusterException, OSError) as error:
        raise StoreUnavailable(sentence(error)) from error
