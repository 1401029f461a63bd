"""What every room's tests may use."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.servers import RedisCluster, RedisServer, Watched

# Read when scikit-learn and XGBoost are first imported. On the few rows of a test their threads wait for each other, and on
# a machine that does something else too for far longer: the fits take half the time with one.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisServer]:
    """A real redis-server that lives as long as the session; see `redis_url` for an empty one."""
    server = RedisServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis_server(redis_process: RedisServer) -> str:
    """URL of the session's redis-server."""
    return redis_process.url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of the session's redis-server, emptied for this test."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushdb()
    return redis_server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A redis-server for one test alone, which may stop, kill and restart it."""
    server = RedisServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """A real cluster of three nodes that lives as long as the session; see `cluster_url` for an empty one."""
    cluster = RedisCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster_url(redis_cluster: RedisCluster) -> str:
    """URL of the session's cluster, emptied for this test."""
    redis_cluster.empty()
    return redis_cluster.url


@pytest.fixture
def own_cluster() -> Iterator[RedisCluster]:
    """A cluster for one test alone, which may move its slots and kill its nodes."""
    cluster = RedisCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def watched() -> Iterator[Watched]:
    """A primary and a replica behind two real Sentinels, as long as the session; see `sentinel_url` for an empty one."""
    watched = Watched()
    try:
        watched.start()
        yield watched
    finally:
        watched.stop()


@pytest.fixture
def sentinel_url(watched: Watched) -> str:
    """URL of the session's Sentinels, whose primary was emptied for this test."""
    with watched.primary.client() as client:
        client.flushall()
    return watched.url


@pytest.fixture
def own_watched() -> Iterator[Watched]:
    """A primary, a replica and two Sentinels for one test alone."""
    watched = Watched()
    try:
        watched.start()
        yield watched
    finally:
        watched.stop()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself; its key lies beside it as ``key``."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("makes a certificate with openssl, which is not on PATH")
    folder = tmp_path_factory.mktemp("tls")
    options = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "certificate")]
    subprocess.run([program, *options.split(), *files], check=True, capture_output=True)
    return folder / "certificate"


@pytest.fixture(scope="session")
def tls_server(certificate: Path) -> Iterator[RedisServer]:
    """A real redis-server that speaks TLS beside its plain port."""
    server = RedisServer(certificate=certificate)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def tls_url(tls_server: RedisServer, certificate: Path) -> str:
    """URL of the session's server with TLS, emptied for this test."""
    with tls_server.client() as client:
        client.flushall()
    return f"rediss://127.0.0.1:{tls_server.tls_port}/0?ssl_ca_certs={certificate}"


@pytest.fixture(scope="session")
def bundle_shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shelf with one small, active bundle of all four models, simulated and fitted once per session."""
    # Here: it loads polars and scikit-learn, which most tests do without.
    from benchmarks.material import make_shelf

    return make_shelf(tmp_path_factory.mktemp("bundles"), payments=20_000, max_rows=8_000)


URLS = {"redis": "redis_url", "tls": "tls_url", "cluster": "cluster_url", "sentinel": "sentinel_url"}
STORES = ["memory", "snapshot", "redis", "unix", "tls", "cluster", "sentinel"]


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "unix":
        request.getfixturevalue("redis_url")
        return f"unix://{request.getfixturevalue('redis_process').folder}/socket?db=0"
    if request.param in URLS:
        return str(request.getfixturevalue(URLS[request.param]))
    return "memory://" if request.param == "memory" else f"memory://{tmp_path}/state"
