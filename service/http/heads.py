"""Heads of requests as bytes: which were seen before, and what is done to one before the parser gets it.

This module must not know how a head is answered.
"""

import re
from typing import Final

from service.http.call import Head

END: Final = b"\r\n\r\n"
"""Ends a head."""
MOST: Final = 2_048
LARGEST: Final = 2_048

_UPGRADE: Final = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_LINE_ENDS: Final = re.compile(rb"(?<!\r)\n")


class Heads:
    """The heads that the parser has taken for the whole head of a request to one of the four questions.

    The parser knows nothing of a connection's past between two requests, so the same bytes are the same head at any time
    and on any connection.

    Attributes
    ----------
    known
        Head by its bytes, without the empty line.
    """

    def __init__(self) -> None:
        self.known: dict[bytes, Head] = {}

    def remember(self, raw: bytes, head: Head) -> None:
        """Remember a head; all are forgotten when there are too many, as when every one has a trace id of its own."""
        if len(raw) > LARGEST:
            return
        if len(self.known) >= MOST:
            self.known.clear()
        self.known[raw] = head


def without_upgrade(raw: bytes) -> bytes:
    """Return a head whose offer of another protocol is hidden.

    httptools ends a message at the head of an offered upgrade and drops its body. A server may ignore the offer
    (RFC 9110, 7.8), so the parser does not get to see it.
    """
    return _UPGRADE.sub(b"\r\nx-upgrade-offered:", raw)


def may_become_a_head(data: bytes) -> bool:
    """Tell whether bytes without the end of a head can be the beginning of one; the parser says what is wrong with others."""
    return data[:1].isalpha() and _LINE_ENDS.search(data) is None
