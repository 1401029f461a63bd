"""Who may ask: keys, tokens, scopes and limits. No room behind the edge knows any of it."""

from service.access.gate import Gate
from service.access.keyring import Keyring
from service.settings import Settings


def open_gate(settings: Settings) -> Gate | None:
    """Return the gate that these settings ask for, or None where everybody may ask everything.

    Raises
    ------
    CredentialsRefused
        When a file of keys cannot be used.
    """
    if not settings.guarded:
        return None
    keyring = tokens = None
    if settings.keys is not None:
        keyring = Keyring(settings.keys, rate=settings.rate, burst=settings.burst)
    if settings.jwt_keys is not None:
        # Here, not above: cryptography takes 0.1 s and 13 MB, which a service without tokens does without.
        from service.access.tokens import Tokens

        tokens = Tokens(
            settings.jwt_keys,
            issuer=settings.jwt_issuer or "",
            audience=settings.jwt_audience or "",
            rate=settings.rate,
            burst=settings.burst,
        )
    return Gate(keyring, tokens)
