"""The gateway's side of Pointsman: asks the service its questions over HTTP and hands the answers back typed.

`Client` blocks, `AsyncClient` awaits; both ask with the structs of `contracts` and fail with the errors of `client.errors`.
This room must not know how a question is answered: it imports `contracts` and httpx, nothing else of the project.
"""

from client.asynchronous import AsyncClient
from client.blocking import Client
from client.errors import (
    AlreadyAsked,
    ClientError,
    Failed,
    NotAllowed,
    NotFound,
    Overloaded,
    Refused,
    TimedOut,
    Unavailable,
    Unreachable,
    Unreadable,
)

__all__ = [
    "AlreadyAsked",
    "AsyncClient",
    "Client",
    "ClientError",
    "Failed",
    "NotAllowed",
    "NotFound",
    "Overloaded",
    "Refused",
    "TimedOut",
    "Unavailable",
    "Unreachable",
    "Unreadable",
]
