"""The tests' own Redis servers come up although others take ports on this machine at the same time."""

import socket
import threading
from pathlib import Path

import pytest

from tests.servers import RedisServer, free_port


@pytest.mark.parametrize("name", ["port", "bus_port", "tls_port"])
def test_a_port_that_was_taken_in_between_is_left_to_its_owner(name: str, certificate: Path) -> None:
    server = RedisServer(cluster=True, certificate=certificate)
    taken = getattr(server, name)
    with socket.create_server(("127.0.0.1", taken)):
        try:
            server.start()
            assert getattr(server, name) != taken
            with server.client() as client:
                assert client.ping()
        finally:
            server.stop()


def test_somebody_elses_server_on_the_port_is_not_taken_for_the_own() -> None:
    first, second = RedisServer(), RedisServer()
    second.port = first.port
    try:
        first.start()
        second.start()
        assert second.port != first.port
    finally:
        second.stop()
        first.stop()


def test_a_server_that_comes_back_waits_for_its_own_port() -> None:
    server = RedisServer()
    try:
        server.start()
        port = server.port
        server.kill()
        taker = socket.create_server(("127.0.0.1", port))
        threading.Timer(0.5, taker.close).start()
        server.start()
        assert server.port == port
    finally:
        server.stop()


def test_what_redis_says_is_told_when_it_does_not_start() -> None:
    server = RedisServer("--no-such-option", "1")
    with pytest.raises(RuntimeError, match="no-such-option"):
        server.start()
    assert not Path(server.folder).exists()


def test_no_port_is_given_twice() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
