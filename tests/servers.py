"""Real Redis servers of the tests' own, single, as a cluster or behind Sentinels: on free ports, stopped by process id."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.store import FeatureStore

START_SECONDS = 30
"""How long a server may take to answer, other ports included; a busy machine takes seconds."""

_choice = random.SystemRandom()
_given: set[int] = set()


def _range() -> range:
    """Return the ports to choose from: below those that the system gives to outgoing connections at any moment."""
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        first = 49_152
    return range(first - 12_000, first) if first > 14_000 else range(20_000, 32_000)


def free_port() -> int:
    """Return a port of loopback that nobody listens on and that was not returned before."""
    while True:
        port = _choice.choice(_range())
        if port in _given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until something holds; what redis-py raises meanwhile counts as no."""
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(redis.RedisError):
            if holds():
                return
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


async def opened(store: FeatureStore) -> None:
    """Open a store whose servers are well; on a busy machine they may be given a second that they do not get."""
    until = time.monotonic() + START_SECONDS
    while (told := await store.open()) is not None:
        assert "within" in told or "Timeout" in told, told
        assert time.monotonic() < until, told


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
    """One process on ports of its own, which are settled once it has been started."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="pointsman-redis-")
        self.process: subprocess.Popen[bytes] | None = None
        self.settled = False
        self.choose()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def choose(self) -> None:
        self.port = free_port()

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self, *, settled: bool = False) -> None:
        """Start the process and wait until it answers.

        Where another process took a port in between, it moves to other ports; it waits for its own to come free when it
        has run before or its ports are `settled`, since somebody was told of them.
        """
        until = time.monotonic() + START_SECONDS
        while (said := self._last_words(until)) is not None:
            if "Address already in use" not in said or time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"{' '.join(self.command())} did not start: {said}")
            if settled or self.settled:
                time.sleep(0.1)
            else:
                self.choose()
        self.settled = True

    def client(self, seconds: float = 10) -> redis.Redis:
        """Return a client that gives an answer `seconds` and asks once: who waits for something asks again itself."""
        return redis.Redis.from_url(self.url, socket_timeout=seconds, retry=Retry(NoBackoff(), 0))

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

    def _last_words(self, until: float) -> str | None:
        """Start the process once; return None when it answers, else what it said last."""
        log = Path(self.folder, "log")
        with log.open("wb") as file:
            self.process = subprocess.Popen(self.command(), stdout=file, stderr=subprocess.STDOUT)
        while self.process.poll() is None:
            with contextlib.suppress(redis.RedisError), self.client(0.5) as client:
                # Somebody else's server may answer here while this one finds its port taken.
                if client.info("server")["process_id"] == self.process.pid:
                    return None
            if time.monotonic() > until:
                self.kill()
                return f"no answer within {START_SECONDS} s: {_tail(log)}"
            time.sleep(0.01)
        self.process = None
        return _tail(log)


def _tail(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return " / ".join([line for line in lines if line][-6:]) or "it said nothing"


class RedisServer(Server):
    """One redis-server process that keeps nothing on disk.

    Parameters
    ----------
    options
        What its command line says besides.
    cluster
        Whether it is a node of a cluster.
    certificate
        With it, it speaks TLS on a second port.
    primary
        The server whose replica it is.
    """

    def __init__(
        self,
        *options: str,
        cluster: bool = False,
        certificate: Path | None = None,
        primary: "RedisServer | None" = None,
    ) -> None:
        self.options = options
        self.cluster = cluster
        self.certificate = certificate
        self.primary = primary
        super().__init__()

    def choose(self) -> None:
        super().choose()
        self.bus_port = free_port()
        self.tls_port = free_port()

    def command(self) -> list[str]:
        fixed = (
            f"--port {self.port} --bind 127.0.0.1 --appendonly no --dir {self.folder} --unixsocket {self.folder}/socket"
            " --repl-diskless-sync-delay 0"
        )
        if self.cluster:
            fixed += f" --cluster-enabled yes --cluster-port {self.bus_port}"
        if self.primary is not None:
            fixed += f" --replicaof 127.0.0.1 {self.primary.port}"
        tls = [] if self.certificate is None else tls_options(self.certificate, self.tls_port)
        return [program(), *fixed.split(), "--save", "", *tls, *self.options]


class SentinelServer(Server):
    """One Sentinel that watches a primary under the name ``mymaster`` and needs nobody's consent."""

    def __init__(self, primary: RedisServer) -> None:
        self.primary = primary
        super().__init__()

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
        self.replica = RedisServer(primary=self.primary)
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

    def start(self, *, settled: bool = False) -> None:
        """Start and join the nodes, on the ports they have when these are `settled`."""
        for place, node in enumerate(self.nodes):
            node.start(settled=settled)
            with node.client() as client:
                client.cluster("ADDSLOTSRANGE", *self.slots(place))
                client.cluster("SET-CONFIG-EPOCH", place + 1)
        # Each with each: what the first tells the second of the third takes a second more to come round.
        for place, node in enumerate(self.nodes):
            for known in self.nodes[:place]:
                self._meet(node, known)
        self.wait()

    def add_replica(self) -> RedisServer:
        """Start a replica of the first node and wait until it follows."""
        replica = self._make()
        self.replicas.append(replica)
        replica.start()
        for known in self.nodes:
            self._meet(replica, known)
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
                wait_until(partial(self._is_well, client), "the cluster is formed")

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
        # A node that gets no turn for so long is lost to the others, and a handshake that takes longer is given up.
        options = ["--cluster-node-timeout", "10000"]
        # Without it a node that is lost takes the others with it.
        options += ["--cluster-require-full-coverage", "no"]
        if self.certificate is not None:
            options += ["--tls-cluster", "yes"]
        return RedisServer(*options, cluster=True, certificate=self.certificate)

    def _port(self, node: RedisServer) -> int:
        """Return the port under which the nodes know each other."""
        return node.port if self.certificate is None else node.tls_port

    def _meet(self, node: RedisServer, known: RedisServer) -> None:
        with node.client() as client:
            client.cluster("MEET", "127.0.0.1", self._port(known), str(known.bus_port))

    def _is_well(self, client: redis.Redis) -> bool:
        about = client.cluster("INFO")
        known = len(self.nodes) + len(self.replicas)
        return (
            about["cluster_state"] == "ok"
            and about["cluster_known_nodes"] == str(known)
            and about["cluster_slots_ok"] == "16384"
            and len(client.cluster("SLOTS")) == 3
        )
