"""The client's errors.

::

    ClientError                 base of all
    ├── Refused                 the service understood and said no (4xx): mend the request, do not send it again as it is
    │   ├── AlreadyAsked        this attempt was asked about before, with another body (409)
    │   ├── NotAllowed          no key, a wrong one, or one without the scope (401, 403)
    │   └── NotFound            there is no such decision (404)
    └── Unavailable             no usable answer in time: go on without one
        ├── TimedOut            nothing came in the time there was
        ├── Unreachable         no connection, or one that broke
        ├── Overloaded          the service asks to be left alone for a while (429, 503)
        ├── Failed              the service, or a proxy before it, failed (any other 5xx), or got the request too slowly (408)
        └── Unreadable          an answer came that is not of the contract

No message carries a value of a request, nor a key. This module must not know HTTP libraries.
"""

from contracts.problem import Problem


class ClientError(Exception):
    """Base of all: its message is one sentence."""


class Refused(ClientError):
    """The service understood the request and refuses it.

    Parameters
    ----------
    problem
        What was wrong, as the service said it: a stable `code`, the JSON `path` of the culprit, what was expected.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(f"{problem.status} {problem.code} at {problem.path}: {problem.detail}")

    @property
    def status(self) -> int:
        """HTTP status."""
        return self.problem.status

    @property
    def code(self) -> str:
        """Stable code of the reason."""
        return self.problem.code

    @property
    def path(self) -> str:
        """JSON path of the culprit."""
        return self.problem.path


class AlreadyAsked(Refused):
    """The attempt was asked about before, with another body: the first answer stands, a new try is a new attempt."""


class NotAllowed(Refused):
    """The key is missing, wrong, revoked or without the scope that this needs."""


class NotFound(Refused):
    """The service knows no such decision."""


class Unavailable(ClientError):
    """There is no usable answer in the time there was; whoever asked goes on without one.

    Attributes
    ----------
    sent
        Whether the service may have got the request: False is certain that it has not.
    tries
        How often it was sent, or was to be sent, before giving up.
    """

    def __init__(self, sentence: str, *, sent: bool = True) -> None:
        self.sent = sent
        self.tries = 1
        super().__init__(sentence)


class TimedOut(Unavailable):
    """Nothing came in the time there was."""


class Unreachable(Unavailable):
    """No connection could be made, or it broke before the answer was whole."""


class Overloaded(Unavailable):
    """The service asks to be left alone for a while.

    Parameters
    ----------
    status
        429 or 503.
    retry_after
        Seconds it asks for; None when it does not say.
    problem
        What it said, when it was a problem of the contract.
    """

    def __init__(self, status: int, retry_after: float | None, problem: Problem | None = None) -> None:
        self.status = status
        self.retry_after = retry_after
        self.problem = problem
        said = "" if problem is None else f" ({problem.code}: {problem.detail})"
        when = "" if retry_after is None else f", to be asked again in {retry_after:g} s"
        super().__init__(f"the service answered {status}{said}{when}")


class Failed(Unavailable):
    """The service, or a proxy before it, failed, or did not get the whole request in its time.

    Parameters
    ----------
    status
        The status: of 5xx, or 408, which proxies also send as they close a connection that was idle.
    problem
        What was said, when it was a problem of the contract.
    """

    def __init__(self, status: int, problem: Problem | None = None) -> None:
        self.status = status
        self.problem = problem
        said = "" if problem is None else f" ({problem.code}: {problem.detail})"
        super().__init__(f"the service answered {status}{said}")


class Unreadable(Unavailable):
    """An answer came that is not what the contract says.

    Parameters
    ----------
    status
        Its HTTP status.
    reason
        What is wrong with it, without any of its content.
    """

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(f"the answer with status {status} cannot be read: {reason}")
