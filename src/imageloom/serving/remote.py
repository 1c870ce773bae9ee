"""Fetches the pictures whose addresses clients name, from public servers only."""

import threading
from typing import TYPE_CHECKING

from imageloom.serving.problems import RequestError
from imageloom.serving.settings import Settings

if TYPE_CHECKING:
    from imageloom.fetch.client import Client
    from imageloom.fetch.http import Fetched

# A client waits for an answer all this time, and so does a thread of ours.
SECONDS = 8.0
IDLE_SECONDS = 4.0

MAX_LENGTH = 2048  # of an address


class Remote:
    """Safe to call from several threads; what is needed to fetch is loaded when it is first asked.

    Args:
        settings: Whether, and what, may be fetched.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Who waits for a slow server answers nobody: half of the threads stay free of it.
        self._places = threading.BoundedSemaphore(max(1, settings.threads // 2))
        self._lock = threading.Lock()
        self._client: Client | None = None

    @property
    def is_allowed(self) -> bool:
        """Whether anything is fetched."""
        return self._settings.fetches

    def get(self, url: str) -> bytes:
        """The bytes of the picture at an address.

        Raises:
            RequestError: It is not fetched here, or there is nothing to be had.
        """
        if not self.is_allowed:
            raise RequestError(403, "this server fetches nothing: send the picture itself, or start it with --fetch")
        if len(url) > MAX_LENGTH or not url.lower().startswith(("http://", "https://")):
            raise RequestError(400, f"url must be an http or https address of up to {MAX_LENGTH} characters")
        if not self._places.acquire(blocking=False):
            raise RequestError(503, "other pictures are being fetched: ask again", Retry_After="1")
        try:
            fetched = self._opened().get(url)
        finally:
            self._places.release()
        return _checked(fetched)

    def _opened(self) -> "Client":
        with self._lock:
            if self._client is None:
                self._client = self._open()
            return self._client

    def _open(self) -> "Client":
        from imageloom.fetch.client import Client
        from imageloom.fetch.http import Limits

        settings = self._settings
        # robots.txt is for those who follow links, and opting out is about training: here a person names an address.
        limits = Limits(
            concurrency=settings.threads,
            retries=0,
            timeout=SECONDS,
            idle_timeout=IDLE_SECONDS,
            max_bytes=settings.max_bytes,
            obey_robots=False,
            obey_opt_out=False,
            allow_hosts=settings.allow_hosts,
        )
        client = Client(limits)
        client.__enter__()  # for as long as the process lives; its thread is a daemon
        return client


def _checked(fetched: "Fetched") -> bytes:
    """The body, or what to tell: never what an inner name stands for, nor what an inner server said."""
    from imageloom.fetch.status import GOOD, Status

    if fetched.status in GOOD:
        return fetched.body
    answers = {
        Status.BLOCKED_ADDRESS: (403, "that address is not asked from here: it is no public server's"),
        Status.TIMEOUT: (504, "that server did not answer in time"),
        Status.DNS: (502, "there is no server of that name"),
        Status.TLS: (502, "that server's certificate is not valid"),
        Status.TOO_LARGE: (413, "what is there is larger than allowed"),
        Status.BOMB: (422, "what is there unfolds to more than allowed"),
    }
    code = f" HTTP {fetched.http_status}" if fetched.http_status else " nothing that can be read"
    raise RequestError(*answers.get(fetched.status, (502, f"that server answered{code}")))
