"""Faults of the store: a Redis that is killed, frozen, slow, refusing, read-only, emptied or failed over.

This module must not know what is asked meanwhile, nor what is measured.
"""

from typing import ClassVar

from benchmarks.fault import AWAY, BLIND, UNTAKEN, Fault
from benchmarks.rig import Rig
from tests.servers import RedisServer, SentinelServer, wait_until


def primary(rig: Rig) -> RedisServer:
    """Return the service's Redis."""
    assert rig.redis is not None
    return rig.redis


class Killed(Fault):
    """The store's process is ended and comes back with what its own log holds."""

    title = "Redis killed, comes back with its log"
    allowed = AWAY
    expected = BLIND

    def begin(self, rig: Rig) -> None:
        """Kill it."""
        primary(rig).kill()

    def end(self, rig: Rig) -> None:
        """Start it again."""
        primary(rig).start()
        rig.settle(primary(rig))


class Emptied(Killed):
    """The store's process is ended and comes back with nothing."""

    title = "Redis restarted empty"
    empties = True

    def prepare(self, rig: Rig) -> None:
        """Start one that keeps nothing on disk."""
        rig.start_redis()


class Frozen(Fault):
    """The store's process gets no turn any more."""

    title = "Redis frozen (SIGSTOP)"
    allowed = AWAY
    expected = BLIND

    def begin(self, rig: Rig) -> None:
        """Stop it."""
        primary(rig).pause()

    def end(self, rig: Rig) -> None:
        """Let it go on."""
        primary(rig).resume()


class Slow(Fault):
    """Every reply of the store comes later."""

    milliseconds: ClassVar[float]
    allowed = AWAY

    def prepare(self, rig: Rig) -> None:
        """Put a proxy in the way."""
        super().prepare(rig)
        self._hold_back = rig.start_proxy()

    def begin(self, rig: Rig) -> None:
        """Hold replies back."""
        self._hold_back(self.milliseconds)

    def end(self, rig: Rig) -> None:
        """Hold nothing back."""
        self._hold_back(0)


class Slow5(Slow):
    """Slower, but in time."""

    title = "Redis slower by 5 ms"
    milliseconds = 5


class Slow50(Slow):
    """Too slow for an answer, not for a write behind one."""

    title = "Redis slower by 50 ms"
    milliseconds = 50
    expected = BLIND


class Slow500(Slow):
    """Too slow for anything."""

    title = "Redis slower by 500 ms"
    milliseconds = 500
    expected = BLIND


class Refusing(Fault):
    """The store answers every command with an error."""

    title = "Redis answers errors (no rights)"
    allowed = AWAY
    expected = frozenset({"features:store_unavailable"})

    def prepare(self, rig: Rig) -> None:
        """Make a user who can give the rights back."""
        super().prepare(rig)
        with primary(rig).client() as client:
            client.execute_command("ACL", "SETUSER", "keeper", "on", ">keeper", "~*", "+@all")

    def begin(self, rig: Rig) -> None:
        """Take the rights away."""
        self._set(rig, "-@all")

    def end(self, rig: Rig) -> None:
        """Give them back."""
        self._set(rig, "+@all")

    def _set(self, rig: Rig, rights: str) -> None:
        with primary(rig).client() as client:
            client.execute_command("AUTH", "keeper", "keeper")
            client.execute_command("ACL", "SETUSER", "default", rights)


class ReadOnly(Fault):
    """The store becomes a replica of nobody: it can be read, not written."""

    title = "Redis read-only"
    allowed = AWAY
    expected = UNTAKEN

    def begin(self, rig: Rig) -> None:
        """Make it a replica of a port where nobody is."""
        with primary(rig).client() as client:
            client.replicaof("127.0.0.1", "1")

    def end(self, rig: Rig) -> None:
        """Make it a primary again."""
        with primary(rig).client() as client:
            client.replicaof("NO", "ONE")


class FailingOver(Fault):
    """The primary is lost for good, and the Sentinels make its replica the new one."""

    title = "Redis fails over (Sentinel)"
    allowed = AWAY
    expected = BLIND | UNTAKEN

    def prepare(self, rig: Rig) -> None:
        """Start a primary, a replica and two Sentinels."""
        primary = rig.start_redis()
        self._replica = rig.start_redis(primary=primary)
        sentinels = [SentinelServer(primary), SentinelServer(primary)]
        for sentinel in sentinels:
            rig.stack.callback(sentinel.stop)
            sentinel.start()
        with sentinels[0].client() as client:
            wait_until(lambda: bool(client.sentinel_slaves("mymaster")), "the Sentinel knows the replica")
        with self._replica.client() as client:
            wait_until(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
        rig.settings["STORE"] = f"sentinel://{hosts}/mymaster/0"

    def begin(self, rig: Rig) -> None:
        """Kill the primary."""
        primary(rig).kill()

    def end(self, rig: Rig) -> None:
        """Wait for the replica's promotion: nobody does anything else."""
        with self._replica.client() as client:
            wait_until(lambda: client.info("replication")["role"] == "master", "the replica is promoted")
        rig.redis = self._replica
