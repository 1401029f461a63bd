"""Where the service may listen: anywhere when it asks who comes, else on loopback, unless it was told otherwise.

This module must not know how callers are asked.
"""

import ipaddress
import socket

from service.errors import SettingsError
from service.settings import Settings


def check(settings: Settings) -> None:
    """Refuse to listen where others may come and nobody is asked who they are.

    Raises
    ------
    SettingsError
        In one sentence that names every way out.
    """
    if settings.guarded or settings.open or is_loopback(settings.host):
        return
    expected = (
        "a loopback address, because nobody is asked for a key: set POINTSMAN_KEYS or POINTSMAN_JWT_KEYS, or "
        "POINTSMAN_OPEN=yes where a gateway in front asks"
    )
    variable = "POINTSMAN_HOST"
    raise SettingsError(variable, expected=expected, came=f"`{settings.host[:80]}`")


def is_loopback(host: str) -> bool:
    """Tell whether every address of a host is one that only this machine reaches; a host without any is not."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return bool(found) and all(_loopback(str(entry[4][0])) for entry in found)


def _loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback
