"""Where a store's URL leads: connections of redis-py to one server, to each node of a cluster, or to what Sentinels name.

=====================================================  =============================================================
``redis://`` ``rediss://`` ``unix://``                 one server, exactly as redis-py reads the URL
``cluster://`` ``clusters://user:pw@host:port,...``    the nodes from which a cluster is learned; with an s over TLS
``sentinel://user:pw@host:port,.../service[/db]``      the primary of `service`, asked of the Sentinels at every connect
=====================================================  =============================================================

User and password are those of the servers; options after ``?`` are redis-py's (such as ``ssl_ca_certs``), and
``sentinel_username`` and ``sentinel_password`` those of the Sentinels. This module must not know what is sent.
"""

from functools import cached_property
from typing import Any, Final
from urllib.parse import unquote

import redis
import redis.sentinel
from redis.asyncio.connection import ConnectionPool, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry as BlockingRetry

from service.settings import store_nodes, store_parts
from service.store.lane import CONNECT_SECONDS

_DEFAULT_PORTS: Final = {"sentinel": 26379}
_SENTINEL_SECONDS: Final = 0.3
"""How long one Sentinel may take, so that another is asked well within the time to connect."""


class Address:
    """A store's URL, read once.

    Parameters
    ----------
    url
        One that `service.settings.store_scheme` knows, other than ``memory://``.

    Raises
    ------
    ValueError, TypeError
        For a URL that redis-py cannot read, or with an option that it does not have.
    """

    def __init__(self, url: str) -> None:
        parts = store_parts(url)
        self._url = url
        self._scheme = parts.scheme
        self._query = parts.query
        self._credentials = parts.netloc.rpartition("@")[0]
        service, _, database = parts.path.strip("/").partition("/")
        self._service = unquote(service) if self.is_sentinel else ""
        self._database = int(database or 0) if self.is_sentinel else 0
        self.nodes: tuple[tuple[str, int], ...] = ()
        """Host and port of the nodes or Sentinels named."""
        if self.is_cluster or self.is_sentinel:
            port = _DEFAULT_PORTS.get(self._scheme, 6379)
            self.nodes = tuple((host, given or port) for host, given in store_nodes(url))
        # Not connected: an option that does not exist is said now, and not by the first connection.
        connections = self.pool_of(*self.nodes[0]) if self.is_cluster else self.pool()
        connections.make_connection()  # type: ignore[no-untyped-call]

    @property
    def is_cluster(self) -> bool:
        """Tell whether the URL names a cluster."""
        return self._scheme in {"cluster", "clusters"}

    @property
    def is_sentinel(self) -> bool:
        """Tell whether the URL names Sentinels."""
        return self._scheme == "sentinel"

    def pool(self) -> ConnectionPool:
        """Return what makes connections to the one server, or to the primary of the day; not for a cluster."""
        if not self.is_sentinel:
            return ConnectionPool.from_url(self._url, **_PATIENCE)
        options = self._options(*self.nodes[0], own=True)
        return SentinelConnectionPool(  # type: ignore[no-untyped-call]
            self._service, self._sentinels, **{**_PATIENCE, **options}
        )

    def pool_of(self, host: str, port: int) -> ConnectionPool:
        """Return what makes connections to one node of a cluster."""
        return ConnectionPool.from_url(self._node_url(host, port), **_PATIENCE)

    async def close(self) -> None:
        """Drop the connections to Sentinels, if there are any."""
        if "_sentinels" in self.__dict__:
            await self._sentinels.aclose()

    def blocking(self, timeout_seconds: float) -> "redis.Redis | RedisCluster":
        """Return a blocking client of redis-py, for bulk work."""
        times: dict[str, Any] = {"socket_timeout": timeout_seconds, "socket_connect_timeout": CONNECT_SECONDS}
        if self.is_cluster:
            kwargs = self._options(*self.nodes[0], own=True)
            nodes = [ClusterNode(*node) for node in self.nodes]  # type: ignore[no-untyped-call]
            tls = self._scheme == "clusters"
            return RedisCluster(startup_nodes=nodes, require_full_coverage=False, ssl=tls, **{**times, **kwargs})
        if self.is_sentinel:
            sentinels = redis.sentinel.Sentinel(  # type: ignore[no-untyped-call]
                self.nodes, sentinel_kwargs={**self._sentinel_options(), "retry": BlockingRetry(NoBackoff(), 0)}
            )
            kwargs = self._options(*self.nodes[0], own=True)
            client: redis.Redis = sentinels.master_for(  # type: ignore[no-untyped-call]
                self._service, **{**times, **kwargs}
            )
            return client
        return redis.Redis.from_url(self._url, **times)

    def describe(self) -> str:
        """Return scheme, hosts, ports and database; no user, no password."""
        if self.nodes:
            hosts = ",".join(f"{_bracketed(host)}:{port}" for host, port in self.nodes)
            path = f"/{self._service}/{self._database}" if self.is_sentinel else ""
            return f"{self._scheme}://{hosts}{path}"
        given = parse_url(self._url)
        database = given.get("db", 0)
        if "path" in given:
            return f"unix://{given['path']}?db={database}"
        return f"{self._scheme}://{given.get('host', 'localhost')}:{given.get('port', 6379)}/{database}"

    @cached_property
    def _sentinels(self) -> Sentinel:
        return Sentinel(self.nodes, sentinel_kwargs={**self._sentinel_options(), "retry": Retry(NoBackoff(), 0)})  # type: ignore[no-untyped-call]

    def _sentinel_options(self) -> dict[str, Any]:
        given = self._options(*self.nodes[0])
        options: dict[str, Any] = {
            "socket_timeout": _SENTINEL_SECONDS,
            "socket_connect_timeout": _SENTINEL_SECONDS,
        }
        for name in ("username", "password"):
            if f"sentinel_{name}" in given:
                options[name] = given[f"sentinel_{name}"]
        return options

    def _node_url(self, host: str, port: int) -> str:
        scheme = "rediss" if self._scheme == "clusters" else "redis"
        credentials = f"{self._credentials}@" if self._credentials else ""
        query = f"?{self._query}" if self._query else ""
        return f"{scheme}://{credentials}{_bracketed(host)}:{port}/{self._database}{query}"

    def _options(self, host: str, port: int, *, own: bool = False) -> dict[str, Any]:
        """Return redis-py's reading of credentials and options; `own` leaves out what is not of one connection."""
        given: dict[str, Any] = dict(parse_url(self._node_url(host, port)))
        if own:
            for name in ("host", "port", "connection_class", "sentinel_username", "sentinel_password"):
                given.pop(name, None)
            if self.is_cluster:
                given.pop("db", None)
        return given


_PATIENCE: Final[dict[str, Any]] = {
    "protocol": 2,
    "retry": Retry(NoBackoff(), 0),
    "socket_timeout": None,
    "socket_connect_timeout": CONNECT_SECONDS,
    "socket_read_size": 262_144,
    "max_connections": 4,
}
"""Connections on a lane neither retry nor time out by themselves."""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
