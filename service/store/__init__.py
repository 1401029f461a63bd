"""Online state: packed sums of entities, events applied once, records of decisions; in memory or in Redis."""

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from service.errors import SettingsError
from service.settings import STORES, store_scheme
from service.store.base import (
    EVENT_TTL_SECONDS,
    Applied,
    FeatureStore,
    StateKeys,
    States,
    Update,
    by_attempt,
    by_decision,
)
from service.store.memory import MemoryStore

__all__ = [
    "Applied",
    "FeatureStore",
    "StateKeys",
    "States",
    "Update",
    "by_attempt",
    "by_decision",
    "open_store",
]

VARIABLE: Final = "POINTSMAN_STORE"


def open_store(
    url: str,
    *,
    timeout_ms: float,
    event_ttl_seconds: int = EVENT_TTL_SECONDS,
    save_seconds: float = 30.0,
) -> FeatureStore:
    """Return the store a URL names; call its `open` before anything else.

    Parameters
    ----------
    url
        One of `service.settings.STORES`.
    timeout_ms
        The most that any call to Redis may take.
    event_ttl_seconds
        How long an applied event is remembered.
    save_seconds
        Time between two snapshots of a memory store.

    Raises
    ------
    SettingsError
        When the URL names no known store.
    """
    try:
        scheme = store_scheme(url)
        if scheme == "memory":
            path = urlsplit(url).path
            snapshot = Path(unquote(path)) if path.strip("/") else None
            return MemoryStore(snapshot, event_ttl_seconds=event_ttl_seconds, save_seconds=save_seconds)
        if scheme is not None:
            # Imported here: redis-py takes 0.1 s to load, and the embedded store does without it.
            if scheme in {"cluster", "clusters"}:
                from service.store.cluster import ClusterStore

                return ClusterStore(url, timeout_ms=timeout_ms, event_ttl_seconds=event_ttl_seconds)
            from service.store.redis import RedisStore

            return RedisStore(url, timeout_ms=timeout_ms, event_ttl_seconds=event_ttl_seconds)
    except (ValueError, TypeError):
        # What is said of a URL may repeat it, and with it a password.
        raise SettingsError(VARIABLE, expected=STORES, came="a URL that cannot be read") from None
    named = urlsplit(url).scheme
    came = f"a {named}:// URL" if named else "a URL without a scheme"
    raise SettingsError(VARIABLE, expected=STORES, came=came)
