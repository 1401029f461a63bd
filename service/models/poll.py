"""The bundles' pointer, looked at again and again while the service answers.

This module must not know what a bundle is made of.
"""

import asyncio
import contextlib
import logging
from typing import Final

from service.errors import ServiceError
from service.ports import Bundles

log: Final = logging.getLogger(__name__)


class BundlePoll:
    """Looks at the bundles' pointer again and again; says once what is wrong, not every time."""

    def __init__(self, bundles: Bundles, seconds: float) -> None:
        self._bundles = bundles
        self._seconds = seconds
        self._version: str | None = None
        self._said: str | None = None
        self._now = asyncio.Event()

    def again(self) -> None:
        """Look at once."""
        self._now.set()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._now.wait()
            self._now.clear()
            await self.look()

    async def look(self) -> None:
        """Look once; nothing is raised."""
        try:
            await self._bundles.refresh()
        except ServiceError as error:
            self._say(str(error))
        except Exception as error:
            if self._said is None:
                log.error("looking for a bundle failed", exc_info=error)  # noqa: TRY400
            self._said = type(error).__name__
        else:
            self._say(self._bundles.failing)
        active = self._bundles.active
        if active is not None and active.version != self._version:
            self._version = active.version
            log.info("bundle %s is active", active.version)

    def _say(self, wrong: str | None) -> None:
        if wrong is not None and wrong != self._said:
            log.warning("bundle: %s", wrong)
        self._said = wrong
