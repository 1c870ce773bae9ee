"""Who is let in: names that we are asked for by, origins of pages, bearer tokens, and so many pictures a second."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from bottle import request

from imageloom.serving.headers import Origins
from imageloom.serving.problems import RequestError
from imageloom.serving.rates import Rates
from imageloom.serving.settings import Settings
from imageloom.serving.tokens import Tokens
from imageloom.web.hosts import Hosts

# What a browser needs before it can ask for a token, and what tells no class: of the model its version and its sizes.
OPEN = ("/", "/docs", "/openapi.json", "/healthz", "/readyz")
OPEN_BELOW = "/static/"

# Where pictures are looked at; nothing else costs much.
COUNTED = ("/predict", "/heatmap", "/classify", "/corrections", "/v1/")

Picture = TypeVar("Picture")


class Door:
    """Checks every request before it is looked at.

    Args:
        settings: What is asked of clients.

    Raises:
        ImageloomError: The file of tokens is missing or damaged.
    """

    def __init__(self, settings: Settings) -> None:
        self._hosts = Hosts(("*",) if settings.names is None else settings.names)
        self._origins = Origins(settings.cors)
        self._tokens = Tokens(settings.tokens) if settings.tokens else None
        self._rates = Rates(settings.rate) if settings.rate else None

    @property
    def asks(self) -> bool:
        """Whether more depends on who a client is than whether a browser sends another site's page."""
        return bool(self._origins.allowed or self._tokens or self._rates)

    def knows(self, environ: dict[str, Any]) -> bool:
        """Whether the request is for us, by the name that it asks for."""
        host = environ.get("HTTP_HOST")
        return host is None or self._hosts.knows(host)  # HTTP/1.0 need not say it; browsers always do

    def check(self) -> None:
        """Lets the request in.

        Raises:
            RequestError: 403, 401 or 429, it is not let in.
            HTTPResponse: It only asked whether it may ask.
        """
        if not self.knows(request.environ):
            raise RequestError(403, "this server is not asked for by that name; see the option --server-name")
        self._origins.check()
        if self._tokens and not (request.path in OPEN or request.path.startswith(OPEN_BELOW)):
            owner = self._tokens.owner(request.environ.get("HTTP_AUTHORIZATION", ""))
            if owner is None:
                raise RequestError(401, "a bearer token is needed", WWW_Authenticate='Bearer realm="imageloom"')
            request.environ["imageloom.owner"] = owner
        if self._rates and request.path.startswith(COUNTED):
            wait = self._rates.take(_client())
            if wait:
                seconds = str(math.ceil(wait))
                raise RequestError(429, f"too many pictures at a time: ask again in {seconds} s", Retry_After=seconds)

    def counted(self, pictures: Iterable[Picture]) -> Iterator[Picture]:
        """The pictures of a request, each counted at its turn; all but the first delay the client's next requests."""
        for number, picture in enumerate(pictures):
            if self._rates and number:
                self._rates.take(_client(), must=True)
            yield picture

    def add_headers(self) -> None:
        """Adds to the answer what browsers need to know."""
        self._origins.add_headers()


def _client() -> str:
    return str(request.environ.get("REMOTE_ADDR", ""))
