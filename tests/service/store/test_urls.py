"""Which store a URL names."""

from pathlib import Path

import pytest

from service.errors import SettingsError
from service.settings import STORES, load
from service.store import open_store
from service.store.cluster import ClusterStore
from service.store.memory import MemoryStore
from service.store.redis import RedisStore


@pytest.mark.parametrize(
    ("url", "kind", "described"),
    [
        ("memory://", MemoryStore, "memory://"),
        ("memory:///", MemoryStore, "memory://"),
        ("memory:///var/lib/a%20b", MemoryStore, "memory:///var/lib/a b"),
        ("redis://localhost", RedisStore, "redis://localhost:6379/0"),
        ("redis://user:s3cret@cache:7000/2", RedisStore, "redis://cache:7000/2"),
        ("rediss://:s3cret@cache", RedisStore, "rediss://cache:6379/0"),
        ("cluster://cache", ClusterStore, "cluster://cache:6379"),
        ("cluster://user:s3cret@one:7000,two,[::1]:7001/0", ClusterStore, "cluster://one:7000,two:6379,[::1]:7001"),
        ("clusters://:s3cret@one:7000?ssl_check_hostname=false", ClusterStore, "clusters://one:7000"),
        ("sentinel://cache/shop", RedisStore, "sentinel://cache:26379/shop/0"),
        ("sentinel://:s3cret@one:1,two:2/shop/3?sentinel_password=s3cret", RedisStore, "sentinel://one:1,two:2/shop/3"),
        ("unix:///run/redis.sock?db=1&password=s3cret", RedisStore, "unix:///run/redis.sock?db=1"),
    ],
)
def test_a_known_url_opens_its_store(url: str, kind: type, described: str) -> None:
    store = open_store(url, timeout_ms=10)
    assert type(store) is kind
    assert load({"POINTSMAN_STORE": url}).store == url
    assert store.describe() == described
    assert "s3cret" not in repr(load({"POINTSMAN_STORE": url}))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis",
        "redis://",
        "memory",
        "memory:x",
        "memory://host/path",
        "postgres://u:s3cret@h",
        "memory:/x",
        "cluster://",
        "cluster://:s3cret@",
        "cluster://:s3cret@one,,two",
        "cluster://:s3cret@one:0",
        "cluster://:s3cret@one:port,two",
        "cluster://one/3",
        "sentinel://one:1",
        "sentinel://one:1/",
        "sentinel://:s3cret@one:1/shop/main",
        "sentinel:///shop",
        "sentinels://:s3cret@one/shop",
        "redis+cluster://:s3cret@h",
        "rediss+cluster://:s3cret@h",
        "unix://",
        "redis://:s3cret@h:port",
        "redis://:s3cret@h:0",
        "redis://[:s3cret@h",
    ],
)
def test_any_other_url_is_refused_naming_the_known_ones_and_no_secret(url: str) -> None:
    for refuse in (lambda: open_store(url, timeout_ms=10), lambda: load({"POINTSMAN_STORE": url})):
        with pytest.raises(SettingsError) as caught:
            refuse()
        assert STORES in str(caught.value)
        assert "s3cret" not in str(caught.value)
        assert caught.value.variable == "POINTSMAN_STORE"


@pytest.mark.parametrize("start", ["redis://:s3cret@h/0", "cluster://:s3cret@h", "sentinel://:s3cret@h/shop"])
@pytest.mark.parametrize("option", ["socket_timeout=soon", "colour=s3cret"])
def test_an_option_that_redis_does_not_have_is_refused_without_a_secret(start: str, option: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_store(f"{start}?{option}", timeout_ms=10)
    assert "s3cret" not in str(caught.value)


def test_a_snapshot_path_is_absolute() -> None:
    store = open_store("memory:///state", timeout_ms=10)
    assert isinstance(store, MemoryStore)
    assert Path(store.describe().removeprefix("memory://")).is_absolute()
