"""Real Redis servers of the tests' own, single, as a cluster or behind Sentinels: on free ports, stopped by process id."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import redis


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 15) -> None:
    """Wait until something holds; what redis-py raises meanwhile counts as no."""
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(redis.RedisError):
            if holds():
                return
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def tls_options(certificate: Path, port: int) -> list[str]:
    """Return what makes a server speak TLS on a port of its own; the key lies beside the certificate."""
    key = str(certificate.with_name("key"))
    return [
        *["--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", key],
        *["--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no"],
    ]


def program() -> str:
    found = shutil.which("redis-server")
    if found is None:
        raise RuntimeError("the tests need a real redis-server on PATH (see tests/need_redis.sh)")
    return found


class Server:
    """One process on a port of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.folder = tempfile.mkdtemp(prefix="pointsman-redis-")
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        self.process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while True:
            try:
                with self.client() as client:
                    client.ping()
                return
            except redis.AuthenticationError:
                return
            except redis.RedisError:
                if time.monotonic() > until or self.process.poll() is not None:
                    self.stop()
                    raise
                time.sleep(0.01)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=5)

    def pause(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End the process at once; `start` brings an empty one back on the same port."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=10)
            self.process = None

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(Path(self.folder), ignore_errors=True)


class RedisServer(Server):
    """One redis-server process that keeps nothing on disk."""

    def __init__(self, *options: str) -> None:
        super().__init__()
        self.options = options

    def command(self) -> list[str]:
        fixed = (
            f"--port {self.port} --bind 127.0.0.1 --appendonly no --dir {self.folder} --unixsocket {self.folder}/socket"
            " --repl-diskless-sync-delay 0"
        )
        return [program(), *fixed.split(), "--save", "", *self.options]


def option(server: RedisServer, name: str) -> str:
    """Return the value of an option that a server was given."""
    return server.options[server.options.index(name) + 1]


class SentinelServer(Server):
    """One Sentinel that watches a primary under the name ``mymaster`` and needs nobody's consent."""

    def __init__(self, primary: RedisServer) -> None:
        super().__init__()
        self.primary = primary

    def command(self) -> list[str]:
        file = Path(self.folder, "sentinel.conf")
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"sentinel monitor mymaster 127.0.0.1 {self.primary.port} 1\n"
            "sentinel down-after-milliseconds mymaster 400\nsentinel failover-timeout mymaster 2000\n"
        )
        return [program(), str(file), "--sentinel"]


class Watched:
    """A primary, its replica, and two Sentinels of which one may be gone."""

    def __init__(self) -> None:
        self.primary = RedisServer()
        self.replica = RedisServer("--replicaof", "127.0.0.1", str(self.primary.port))
        self.sentinels = [SentinelServer(self.primary), SentinelServer(self.primary)]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"sentinel://{hosts}/mymaster/0"

    def start(self) -> None:
        self.primary.start()
        self.replica.start()
        for sentinel in self.sentinels:
            sentinel.start()
        with self.sentinels[0].client() as client:
            wait_until(lambda: bool(client.sentinel_slaves("mymaster")), "the Sentinel knows the replica")
        with self.replica.client() as client:
            wait_until(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")

    def stop(self) -> None:
        for server in (*self.sentinels, self.replica, self.primary):
            server.stop()


class RedisCluster:
    """Three primaries on loopback that share the slots, a third each; with a certificate they speak TLS to each other too."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.certificate = certificate
        self.nodes = [self._make() for _ in range(3)]
        self.replicas: list[RedisServer] = []

    @property
    def url(self) -> str:
        scheme = "cluster" if self.certificate is None else "clusters"
        return f"{scheme}://" + ",".join(f"127.0.0.1:{self._port(node)}" for node in self.nodes)

    def start(self) -> None:
        for place, node in enumerate(self.nodes):
            node.start()
            with node.client() as client:
                client.cluster("ADDSLOTSRANGE", *self.slots(place))
                client.cluster("SET-CONFIG-EPOCH", place + 1)
        for node in self.nodes[1:]:
            self._meet(node)
        self.wait()

    def add_replica(self) -> RedisServer:
        """Start a replica of the first node and wait until it follows."""
        replica = self._make()
        self.replicas.append(replica)
        replica.start()
        self._meet(replica)
        with self.nodes[0].client() as primary, replica.client() as client:
            name = primary.cluster("MYID").decode()
            wait_until(lambda: name in str(client.cluster("NODES")), "the replica knows its primary")
            client.cluster("REPLICATE", name)
            wait_until(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
        self.wait()
        return replica

    def wait(self) -> None:
        """Wait until every node knows that all is well."""
        for node in (*self.nodes, *self.replicas):
            with node.client() as client:
                wait_until(lambda client=client: self._is_well(client), "the cluster is formed")

    def slots(self, place: int) -> tuple[int, int]:
        """Return the first and the last slot of a node."""
        return (place * 16384 // 3, (place + 1) * 16384 // 3 - 1)

    def place_of(self, slot: int) -> int:
        """Return which node a slot was given to."""
        return next(place for place in range(3) if slot <= self.slots(place)[1])

    def empty(self) -> None:
        for node in self.nodes:
            with node.client() as client:
                client.flushall()

    def stop(self) -> None:
        for node in (*self.replicas, *self.nodes):
            node.stop()

    def _make(self) -> RedisServer:
        fixed = f"--cluster-enabled yes --cluster-port {free_port()} --cluster-node-timeout 2000"
        # Without it a node that is lost takes the others with it.
        fixed += " --cluster-require-full-coverage no"
        tls = [] if self.certificate is None else [*tls_options(self.certificate, free_port()), "--tls-cluster", "yes"]
        return RedisServer(*fixed.split(), *tls)

    def _port(self, node: RedisServer) -> int:
        """Return the port under which the nodes know each other."""
        return node.port if self.certificate is None else int(option(node, "--tls-port"))

    def _meet(self, node: RedisServer) -> None:
        first = self.nodes[0]
        with node.client() as client:
            client.cluster("MEET", "127.0.0.1", self._port(first), option(first, "--cluster-port"))

    def _is_well(self, client: redis.Redis) -> bool:
        about = client.cluster("INFO")
        known = len(self.nodes) + len(self.replicas)
        return (
            about["cluster_state"] == "ok"
            and about["cluster_known_nodes"] == str(known)
            and about["cluster_slots_ok"] == "16384"
            and len(client.cluster("SLOTS")) == 3
        )
