"""Fetches single addresses for programs that wait for the answer, under the same guard and limits as a crawl."""

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

from imageloom.fetch.http import Fetched, Http, Limits

Result = TypeVar("Result")


class Client:
    """An `Http` that any thread may ask; use it as `with Client(limits) as client`.

    Args:
        limits: How hard, and what, it may ask.
    """

    def __init__(self, limits: Limits) -> None:
        self._http = Http(limits)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fetch", daemon=True)

    def __enter__(self) -> "Client":
        self._thread.start()
        self._wait_for(self._http.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wait_for(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def get(self, url: str) -> Fetched:
        """Fetches a picture; a remote fault is a status, never an exception."""
        return self._wait_for(self._http.get(url))

    def _wait_for(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _close(self) -> None:
        """Gives up what is under way, as after Ctrl-C, and closes the connections."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._http.__aexit__(None, None, None)
