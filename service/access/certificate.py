"""The certificate of a service that speaks TLS itself, taken up again when it is renewed.

TLS 1.2 and 1.3, with forward secrecy and authenticated encryption only. This module must not know who connects.
"""

import ssl
from pathlib import Path
from typing import Any, Final

from service.access.followed import Followed
from service.errors import CredentialsRefused
from service.settings import Settings

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
STRICT: Final = ("strict-transport-security", "max-age=31536000")
"""What every answer over TLS says besides (RFC 6797); a proxy that ends TLS says it itself."""


class Certificate(Followed):
    """A certificate chain and its key, as the context that connections are made with.

    A connection that is open keeps the certificate it began with.

    Parameters
    ----------
    chain
        The certificate and those between it and the root, in PEM.
    key
        The private key, in PEM and without a password.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._key = key
        self.context = _context()
        super().__init__(chain, key)

    def take(self) -> None:
        """Load both files, first to see that they belong together, then where connections find them.

        Raises
        ------
        CredentialsRefused
            When they cannot be read, or do not.
        """
        named = f"{self.path} with {self._key}"
        for context in (_context(), self.context):
            try:
                # Without a password OpenSSL would ask for one at the terminal.
                context.load_cert_chain(self.path, self._key, password="")
            except ssl.SSLError as error:
                reason = (
                    f"expected a certificate in PEM and its own key without a password, got {error.reason or 'neither'}"
                )
                raise CredentialsRefused(named, reason) from None
            except OSError as error:
                raise CredentialsRefused(named, f"it cannot be read ({error.strerror})") from error

    def server_options(self) -> dict[str, Any]:
        """Return what uvicorn's `Config` is to be told besides."""
        return {"ssl_context_factory": lambda _config, _default: self.context, "headers": [STRICT]}


def open_certificate(settings: Settings) -> Certificate | None:
    """Return the certificate these settings name, None for a service that speaks plain HTTP.

    Raises
    ------
    CredentialsRefused
        When it cannot be used.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Certificate(settings.tls_cert, settings.tls_key)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context
