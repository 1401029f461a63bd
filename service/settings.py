"""The settings of the service: one frozen struct, built once from ``POINTSMAN_`` variables.

Nobody else reads the environment. This module must not know what a setting is used for.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import SplitResult, urlsplit

import msgspec

from service.errors import SettingsError

PREFIX: Final = "POINTSMAN_"
EXEMPTIBLE: Final = ("card_token", "customer_id", "decision_id", "device_id", "merchant_id", "payment_id")
"""Identifier fields that a gateway may number with bare digits, so that the card number guard may skip them."""

LogLevel = Literal["debug", "info", "warning", "error"]
JournalSync = Literal["full", "async"]
ServerTiming = Literal["off", "asked", "always"]
STORES: Final = (
    "memory://, memory:///path/to/snapshot, redis://host:6379/0, rediss://host:6379/0, unix:///path/to/socket, "
    "cluster://host:6379[,host:port...], clusters://host:6379[,host:port...] or "
    "sentinel://host:26379[,host:port...]/service[/0]"
)
"""Every form of URL that names a store."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set, with its default.

    Field ``budget_ms`` is set by ``POINTSMAN_BUDGET_MS``, and so on for all.

    ``event_ttl_days`` is how long a reported event is remembered so that it counts once: as long as a gateway may report
    one again. In Redis one mark is about 90 bytes, and every attempt and every outcome leaves one.
    ``answer_hours`` is how long the same question has the same answer; an answer is 1 to 3 kB.
    ``journal_days`` is how long events are kept, ``journal_most_gib`` how much of them at most (0: no limit); a segment of the
    journal is sealed at ``journal_segment_mib`` or after ``journal_segment_minutes``. With less than ``journal_floor_mib`` of
    free space nothing is journalled, and answers say so.
    Of every ``stage_sample`` requests of a kind one is timed by stage for the metrics (0: none), and ``server_timing`` says
    which answers carry the times of their own.
    ``rate`` (requests a second, 0 for no limit) and ``burst`` (requests at once, 0 for those of a second) are for each key or
    token that has none of its own.

    ``workers`` processes serve one port; ``worker`` is set by the supervisor alone, and says which of them this one is.

    A client has ``head_seconds`` for the head of a request, ``body_seconds`` for its body, ``idle_seconds`` until the next
    one and ``write_seconds`` to take an answer; a process keeps so many ``connections`` and takes so many requests
    ``in_flight``. Told to stop, it says for ``drain_delay_seconds`` that it is not ready, then takes no more connections and
    waits up to ``drain_seconds`` for what is under way.

    ``last_known_entries`` (0 for none) and ``last_known_seconds`` bound what a process remembers of the store, to answer with
    while that is away; an entry is 0.3 to 1 kB.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    bundles: Path = Path("var/bundles")
    store: str = "memory://"
    journal: Path | None = Path("var/journal")
    budget_ms: float = 45.0
    log_level: LogLevel = "info"
    pan_exempt: tuple[str, ...] = ()
    body_limit: int = 65_536
    bundle_poll_seconds: float = 1.0
    log_vectors: bool = True
    journal_sync: JournalSync = "full"
    journal_days: int = 90
    journal_most_gib: int = 0
    journal_segment_mib: int = 64
    journal_segment_minutes: int = 60
    journal_floor_mib: int = 64
    store_timeout_ms: float = 10.0
    rules: Path | None = None
    event_ttl_days: int = 7
    answer_hours: int = 24
    stage_sample: int = 100
    server_timing: ServerTiming = "asked"
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    idle_seconds: float = 75.0
    write_seconds: float = 10.0
    head_limit: int = 16_384
    connections: int = 4_096
    in_flight: int = 512
    drain_delay_seconds: float = 1.0
    drain_seconds: float = 10.0
    workers: int = 1
    worker: int = 0
    keys: Path | None = None
    jwt_keys: Path | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    rate: float = 0.0
    burst: int = 0
    open: bool = False
    metrics_open: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def guarded(self) -> bool:
        """Whether callers are asked who they are."""
        return self.keys is not None or self.jwt_keys is not None

    last_known_entries: int = 30_000
    last_known_seconds: float = 600.0

    def redacted(self) -> dict[str, Any]:
        """Return the settings as plain values fit for a log: passwords are masked."""
        plain: dict[str, Any] = msgspec.structs.asdict(self)
        plain["bundles"] = str(self.bundles)
        plain["journal"] = "off" if self.journal is None else str(self.journal)
        plain["rules"] = "off" if self.rules is None else str(self.rules)
        for name in ("keys", "jwt_keys", "jwt_issuer", "jwt_audience", "tls_cert", "tls_key"):
            plain[name] = "off" if plain[name] is None else str(plain[name])
        plain["store"] = _mask(self.store)
        plain["pan_exempt"] = list(self.pan_exempt)
        return plain

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={value!r}" for name, value in self.redacted().items())
        return f"Settings({inside})"


def load(environ: Mapping[str, str]) -> Settings:
    """Build the settings from the ``POINTSMAN_`` variables of `environ`.

    Raises
    ------
    SettingsError
        For an unknown variable (naming the nearest known one), a wrong value, or values that do not go together.
    """
    values: dict[str, Any] = {}
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        field = variable.removeprefix(PREFIX).lower()
        parse = _PARSERS.get(field) if variable == variable.upper() else None
        if parse is None:
            raise SettingsError(variable, expected=_nearest(variable), came="an unknown variable")
        values[field] = parse(variable, environ[variable].strip())
    settings = Settings(**values)
    if settings.workers > 1 and store_scheme(settings.store) == "memory":
        variable = "POINTSMAN_WORKERS"
        expected = "1 with a memory:// store, which no other process can see (workers share a redis:// store)"
        raise SettingsError(variable, expected=expected, came=str(settings.workers))
    if settings.worker >= settings.workers:
        variable = "POINTSMAN_WORKER"
        raise SettingsError(
            variable, expected="to be set by the supervisor of several workers alone", came=str(settings.worker)
        )
    for one, other in _TOGETHER:
        if getattr(settings, one) is not None and getattr(settings, other) is None:
            expected = f"to be set, because {PREFIX}{one.upper()} is"
            raise SettingsError(PREFIX + other.upper(), expected=expected, came="nothing")
    return settings


def keys_file(environ: Mapping[str, str]) -> Path:
    """Return the file of keys that the commands mean when they are told of none."""
    return Path(environ.get(f"{PREFIX}KEYS", "").strip() or "var/keys.json")


def store_scheme(url: str) -> str | None:
    """Return the scheme of a URL that names a store, None for any other.

    Raises
    ------
    ValueError
        For a URL that cannot be read; its message may repeat parts of it.
    """
    parts = store_parts(url)
    if parts.scheme == "memory":
        known = url.startswith("memory://") and not parts.netloc
    elif parts.scheme in {"redis", "rediss"}:
        known = bool(parts.hostname) and parts.port != 0
    elif parts.scheme in {"cluster", "clusters"}:
        known = bool(store_nodes(url)) and re.fullmatch(r"/?0?", parts.path) is not None
    elif parts.scheme == "sentinel":
        known = bool(store_nodes(url)) and re.fullmatch(r"/[^/]+(/[0-9]{1,4})?", parts.path) is not None
    else:
        known = parts.scheme == "unix" and bool(parts.path)
    return parts.scheme if known else None


def store_parts(url: str) -> SplitResult:
    """Return the parts of a store's URL, which may name several hosts: `urlsplit` takes no address in brackets among them.

    Raises
    ------
    ValueError
        For a URL that cannot be read; its message may repeat parts of it.
    """
    several = re.fullmatch(r"(clusters?|sentinel)://([^/?#]*)([^?#]*)(?:\?([^#]*))?", url)
    if several is None:
        return urlsplit(url)
    scheme, netloc, path, query = several.groups(default="")
    return SplitResult(scheme, netloc, path, query, "")


def store_nodes(url: str) -> tuple[tuple[str, int | None], ...]:
    """Return host and port of every server that a store's URL names; None for a port it leaves out.

    >>> store_nodes("cluster://user:s3cret@one:7000,two,[::1]:7001")
    (('one', 7000), ('two', None), ('::1', 7001))

    Raises
    ------
    ValueError
        For a host or a port that cannot be read; its message may repeat parts of the URL.
    """
    named = [urlsplit(f"//{part}") for part in store_parts(url).netloc.rpartition("@")[2].split(",")]
    if any(not part.hostname or part.port == 0 for part in named):
        msg = "expected host or host:port, separated by commas"
        raise ValueError(msg)
    return tuple((part.hostname or "", part.port) for part in named)


def _nearest(variable: str) -> str:
    known = [PREFIX + field.upper() for field in _PARSERS]
    close = difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0.0)
    return f"a known variable, nearest is {close[0]}"


def _shown(raw: str) -> str:
    return f"`{raw[:80]}`" if raw else "an empty value"


def _integer(low: int, high: int) -> Callable[[str, str], int]:
    def parse(variable: str, raw: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", raw) or not low <= int(raw) <= high:
            raise SettingsError(variable, expected=f"an integer from {low} to {high}", came=_shown(raw))
        return int(raw)

    return parse


def _number(low: float, high: float, what: str) -> Callable[[str, str], float]:
    def parse(variable: str, raw: str) -> float:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", raw) or not low <= float(raw) <= high:
            raise SettingsError(variable, expected=f"{what} from {low:g} to {high:g}", came=_shown(raw))
        return float(raw)

    return parse


def _one_of(*allowed: str) -> Callable[[str, str], str]:
    def parse(variable: str, raw: str) -> str:
        if raw.lower() not in allowed:
            raise SettingsError(variable, expected="one of " + ", ".join(allowed), came=_shown(raw))
        return raw.lower()

    return parse


def _boolean(variable: str, raw: str) -> bool:
    known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if raw.lower() not in known:
        raise SettingsError(variable, expected="true or false", came=_shown(raw))
    return known[raw.lower()]


def _text(variable: str, raw: str) -> str:
    if not raw or any(c.isspace() for c in raw):
        raise SettingsError(variable, expected="a host name or address", came=_shown(raw))
    return raw


def _folder(variable: str, raw: str) -> Path:
    if not raw:
        raise SettingsError(variable, expected="a folder", came=_shown(raw))
    return Path(raw)


def _file_or_off(variable: str, raw: str) -> Path | None:
    if raw.lower() == "off":
        return None
    if not Path(raw).is_file():
        raise SettingsError(variable, expected="the path of a file that is there", came=_shown(raw))
    return Path(raw)


def _folder_or_off(variable: str, raw: str) -> Path | None:
    return None if raw.lower() == "off" else _folder(variable, raw)


def _path_or_off(variable: str, raw: str) -> Path | None:
    if not raw:
        raise SettingsError(variable, expected="the path of a file, or off", came=_shown(raw))
    return None if raw.lower() == "off" else Path(raw)


def _text_or_off(variable: str, raw: str) -> str | None:
    if not raw or not raw.isprintable():
        raise SettingsError(variable, expected="a name or URL, or off", came=_shown(raw))
    return None if raw.lower() == "off" else raw


def _store(variable: str, raw: str) -> str:
    try:
        scheme = store_scheme(raw)
    except ValueError:
        scheme = None
    if scheme is None:
        raise SettingsError(variable, expected=STORES, came=_shown(_mask(raw)))
    return raw


def _exempt(variable: str, raw: str) -> tuple[str, ...]:
    names = tuple(sorted({name.strip() for name in raw.split(",") if name.strip()}))
    for name in names:
        if name not in EXEMPTIBLE:
            expected = "a comma list of id fields out of " + ", ".join(EXEMPTIBLE)
            raise SettingsError(variable, expected=expected, came=_shown(name))
    return names


def _mask(url: str) -> str:
    """Mask the password of a URL, wherever it stands; a URL that cannot be read shows its scheme alone."""
    try:
        parts = store_parts(url)
    except ValueError:
        return url.partition("://")[0] + "://***"
    netloc = parts.netloc
    if "@" in netloc:
        user, _, host = netloc.rpartition("@")
        netloc = f"{user.partition(':')[0]}:***@{host}" if ":" in user else f"***@{host}"
    query = re.sub(r"(?i)\b([a-z_]*(?:password|secret|token)[a-z_]*)=[^&]*", r"\1=***", parts.query)
    if (netloc, query) == (parts.netloc, parts.query):
        return url
    return SplitResult(parts.scheme, netloc, parts.path, query, parts.fragment).geturl()


_PARSERS: Final[dict[str, Callable[[str, str], Any]]] = {
    "host": _text,
    "port": _integer(1, 65_535),
    "bundles": _folder,
    "store": _store,
    "journal": _folder_or_off,
    "budget_ms": _number(1.0, 10_000.0, "milliseconds"),
    "log_level": _one_of("debug", "info", "warning", "error"),
    "pan_exempt": _exempt,
    "body_limit": _integer(1_024, 16_777_216),
    "bundle_poll_seconds": _number(0.05, 3_600.0, "seconds"),
    "log_vectors": _boolean,
    "journal_sync": _one_of("full", "async"),
    "journal_days": _integer(1, 3_660),
    "journal_most_gib": _integer(0, 1_000_000),
    "journal_segment_mib": _integer(1, 2_048),
    "journal_segment_minutes": _integer(1, 10_080),
    "journal_floor_mib": _integer(0, 1_000_000),
    "store_timeout_ms": _number(0.1, 10_000.0, "milliseconds"),
    "event_ttl_days": _integer(1, 400),
    "answer_hours": _integer(1, 168),
    "last_known_entries": _integer(0, 10_000_000),
    "last_known_seconds": _number(0.0, 86_400.0, "seconds"),
    "rules": _file_or_off,
    "stage_sample": _integer(0, 1_000_000),
    "server_timing": _one_of("off", "asked", "always"),
    "head_seconds": _number(0.1, 600.0, "seconds"),
    "body_seconds": _number(0.1, 600.0, "seconds"),
    "idle_seconds": _number(0.1, 3_600.0, "seconds"),
    "write_seconds": _number(0.1, 600.0, "seconds"),
    "head_limit": _integer(1_024, 1_048_576),
    "connections": _integer(1, 1_000_000),
    "in_flight": _integer(1, 100_000),
    "drain_delay_seconds": _number(0.0, 600.0, "seconds"),
    "drain_seconds": _number(0.1, 600.0, "seconds"),
    "workers": _integer(1, 64),
    "worker": _integer(0, 63),
    "keys": _path_or_off,
    "jwt_keys": _path_or_off,
    "jwt_issuer": _text_or_off,
    "jwt_audience": _text_or_off,
    "rate": _number(0.0, 1_000_000.0, "requests a second"),
    "burst": _integer(0, 1_000_000),
    "open": _boolean,
    "metrics_open": _boolean,
    "tls_cert": _file_or_off,
    "tls_key": _file_or_off,
}
_TOGETHER: Final = (
    ("tls_cert", "tls_key"),
    ("tls_key", "tls_cert"),
    ("jwt_keys", "jwt_issuer"),
    ("jwt_keys", "jwt_audience"),
)
"""Pairs of which the second must be set where the first is."""
