"""The service's errors.

::

    ServiceError                one sentence for a person, typed fields for a program
    ├── SettingsError           a POINTSMAN_ variable that is unknown or has a wrong value
    ├── BundleRefused           a bundle that is incomplete, damaged or of another feature fingerprint
    ├── ModelFailed             a model that raised, or answered something that is no probability
    ├── NotReady                a decision was asked for before there was a bundle to decide with
    ├── StoreError              online state that could not be read or written
    │   ├── StoreTimeout        in the time it had
    │   └── StoreUnavailable    at all
    ├── JournalUnavailable      an event that could not be made durable
    ├── DecisionNotFound        a decision id that the journal does not know
    ├── Overloaded              more at once than was set to be taken on
    ├── ShelfUnavailable        a shelf of bundles that cannot be read or written
    ├── CredentialsRefused      a file of keys or certificates that cannot be used
    ├── AccessRefused           who asks may not have what was asked for
    │   ├── Unauthenticated     nobody that is known
    │   ├── Forbidden           a scope that the key or token does not have
    │   └── RateLimited         more than it may have, for now
    └── RequestRefused          a request that breaks the contract, with a stable code and a JSON path
        └── AlreadyAsked        another question about an attempt that was answered already

This module must not know HTTP: which status an error becomes is chosen in ``service.http.problems`` alone. No message
carries a value from a request.
"""

from typing import Literal

RefusalCode = Literal[
    "already_asked",
    "bad_header",
    "body_too_large",
    "bundle_refused",
    "duplicate_processor",
    "head_too_large",
    "malformed_body",
    "method_not_allowed",
    "missing_field",
    "no_earlier_bundle",
    "not_allowed",
    "out_of_range",
    "pan_detected",
    "request_timeout",
    "status_required",
    "unknown_bundle",
    "unknown_currency",
    "unknown_field",
    "unsupported_media_type",
    "wrong_format",
    "wrong_type",
]
"""Why a request was refused. Codes are part of the contract: they may be added, not renamed."""


class ServiceError(Exception):
    """Base of all: its message is one sentence that says what was expected, what came and where."""


class SettingsError(ServiceError):
    """A ``POINTSMAN_`` variable that is unknown or has a wrong value.

    Parameters
    ----------
    variable
        Name of the environment variable.
    expected
        What it should have been.
    came
        What it was, in words; never a secret.
    """

    def __init__(self, variable: str, *, expected: str, came: str) -> None:
        self.variable = variable
        self.expected = expected
        self.came = came
        super().__init__(f"{variable}: expected {expected}, got {came}")


class BundleRefused(ServiceError):
    """A bundle that is incomplete, damaged or made for another feature catalog.

    Parameters
    ----------
    path
        Folder of the bundle.
    reason
        What was expected and what was found.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"bundle {path} is refused: {reason}")


class ModelFailed(ServiceError):
    """A model raised, or answered something that is no probability; its prior answers in its place.

    Parameters
    ----------
    model
        Name of the model.
    reason
        What went wrong, without any value of the request.
    """

    def __init__(self, model: str, reason: str) -> None:
        self.model = model
        self.reason = reason
        super().__init__(f"the {model} model failed: {reason}")


class NotReady(ServiceError):
    """A part that is needed for any answer is not there yet.

    Parameters
    ----------
    part
        Name of the part, such as ``bundle``.
    reason
        Why it is not ready.
    """

    def __init__(self, part: str, reason: str) -> None:
        self.part = part
        self.reason = reason
        super().__init__(f"{part} is not ready: {reason}")


class StoreError(ServiceError):
    """Online state could not be read or written."""


class StoreTimeout(StoreError):
    """The store did not answer in the time it had.

    Parameters
    ----------
    after_ms
        How long was waited, in milliseconds.
    """

    def __init__(self, after_ms: float) -> None:
        self.after_ms = after_ms
        super().__init__(f"the store did not answer within {after_ms:g} ms")


class StoreUnavailable(StoreError):
    """The store cannot be reached or refuses to work.

    Parameters
    ----------
    reason
        What the store, or the connection to it, said.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the store is unavailable: {reason}")


class JournalUnavailable(ServiceError):
    """An event could not be made durable, or the journal could not be read.

    Parameters
    ----------
    reason
        What the disk or the database said.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the journal is unavailable: {reason}")


class DecisionNotFound(ServiceError):
    """The journal knows no decision of the id asked for."""

    def __init__(self) -> None:
        super().__init__("no decision of this id is in the journal")


class Overloaded(ServiceError):
    """More is under way than was set to be taken on; what is under way goes on.

    Parameters
    ----------
    what
        What there is too much of, such as ``requests are under way``.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"more {what} than may be; try again")


class ShelfUnavailable(ServiceError):
    """The shelf of bundles cannot be read or written, so that no other bundle can be made the active one.

    Parameters
    ----------
    reason
        What the disk said.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the shelf of bundles cannot be used: {reason}")


class CredentialsRefused(ServiceError):
    """A file of keys or certificates that is missing, damaged or not safe to trust.

    Parameters
    ----------
    path
        The file.
    reason
        What was expected and what was found; never a secret.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} is refused: {reason}")


class AccessRefused(ServiceError):
    """Who asks may not have what was asked for."""


class Unauthenticated(AccessRefused):
    """No key or token came, or none that is known.

    Parameters
    ----------
    reason
        What was expected; the same sentence whatever was wrong with a credential that proves nothing.
    presented
        Whether any credential came at all.
    """

    def __init__(self, reason: str, *, presented: bool) -> None:
        self.reason = reason
        self.presented = presented
        super().__init__(reason)


class Forbidden(AccessRefused):
    """The key or token is good, and not for this.

    Parameters
    ----------
    scope
        Name of the scope it would need.
    """

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__(f"this needs a key or token with the scope {scope}")


class RateLimited(AccessRefused):
    """The key or token has had its share for now.

    Parameters
    ----------
    retry_after
        After how many seconds there is a share again, rounded up.
    """

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__("this key or token asks more often than its limit allows")


class RequestRefused(ServiceError):
    """A request that breaks the contract.

    Parameters
    ----------
    code
        Stable code of the reason.
    path
        JSON path of the culprit, such as ``$.decline.processor``; ``$`` is the whole body.
    detail
        What was expected. It never repeats a value of the request.
    """

    def __init__(self, *, code: RefusalCode, path: str, detail: str) -> None:
        self.code: RefusalCode = code
        self.path = path
        self.detail = detail
        super().__init__(f"{code} at {path}: {detail}")


class AlreadyAsked(RequestRefused):
    """Another question about an attempt that was answered already: its answer stands.

    Parameters
    ----------
    fields
        Names of the fields in which the two questions differ, as far as that is known.
    """

    def __init__(self, fields: tuple[str, ...]) -> None:
        self.fields = fields
        differ = f"; they differ in {', '.join(fields)}" if fields else ""
        detail = (
            f"this attempt was asked about with another body, and its answer stands{differ}: a new try is a new attempt"
        )
        super().__init__(code="already_asked", path="$.payment_id", detail=detail)
