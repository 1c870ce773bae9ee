"""Who is let in: this machine's own browsers, or those that know the token; and writes only from our own page.

A page of another site cannot write here: its request has another `Origin`, is sent without the cookie (`SameSite`), and
lacks the CSRF token, which only our own page can read (OWASP, Cross-Site Request Forgery Prevention). Nor can it reach
us by a name that it lets point to this machine: names that are not this machine's are refused.
"""

import hashlib
import hmac
import re
import secrets
from urllib.parse import urlsplit

from bottle import request, response

from imageloom.web.hosts import Hosts
from imageloom.web.problems import RequestError

# Nothing but our own files; no other site may frame the page.
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

_COOKIE = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{64})")
_SECONDS = 30 * 24 * 3600  # that a browser stays let in


class Door:
    """Checks every request before it is looked at.

    Args:
        host: The name or address that is listened on.
        token: What a visitor must know; None where only this machine can reach us.
    """

    def __init__(self, host: str, token: str | None = None) -> None:
        self._hosts, self._token = Hosts((host,)), token
        # From the token, so that who was let in stays so when the server is started anew.
        self._key = hashlib.sha256(f"imageloom review {token}".encode()).digest() if token else secrets.token_bytes()

    def check(self) -> None:
        """Refuses what was not meant for us; for every request.

        Raises:
            RequestError: 403, it comes under another name, or from the page of another site.
        """
        host = request.environ.get("HTTP_HOST", "")
        if not self._token and not self._hosts.knows(host):
            raise RequestError(403, "ask for this page by the name that it was started with")
        origin = request.environ.get("HTTP_ORIGIN")
        foreign = origin is not None and origin.partition("://")[2] != host
        foreign |= request.environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("none", "same-origin")
        if foreign and request.method not in ("GET", "HEAD"):
            raise RequestError(403, "pages of other sites may not write here")

    def add_headers(self) -> None:
        """Tells the browser what this page may not do."""
        response.headers.update(SECURITY)

    def visitor(self) -> str:
        """Whose request this is: a random number that the cookie holds.

        Raises:
            RequestError: 401, nobody's that was let in.
        """
        found = _COOKIE.fullmatch(request.get_cookie(self._cookie()) or "")
        if found and hmac.compare_digest(found[2], self._seal(found[1])):
            return found[1]
        if self._token:
            raise RequestError(401, "the token is needed")
        return self._let_in()

    def enter(self, token: str) -> str:
        """Lets in a visitor who knows the token; gives what `visitor` will.

        Raises:
            RequestError: 401, it is another.
        """
        if not self._token or not hmac.compare_digest(token.encode(), self._token.encode()):
            raise RequestError(401, "that is not the token")
        return self._let_in()

    def csrf(self, visitor: str) -> str:
        """What the page of a visitor sends with every write."""
        return self._seal(f"write {visitor}")

    def check_write(self) -> None:
        """Lets a write pass.

        Raises:
            RequestError: 401 or 403, it does not come from the page that this visitor has open.
        """
        expected = self.csrf(self.visitor())
        if not hmac.compare_digest(request.environ.get("HTTP_X_CSRF_TOKEN", "").encode(), expected.encode()):
            raise RequestError(403, "this page was opened before the server was started: it asks again")

    def _let_in(self) -> str:
        visitor = secrets.token_hex(16)
        response.set_cookie(
            self._cookie(),
            f"{visitor}.{self._seal(visitor)}",
            path="/",
            httponly=True,
            samesite="strict",
            max_age=_SECONDS,
        )
        # For the rest of this request, which came without it.
        request.cookies[self._cookie()] = f"{visitor}.{self._seal(visitor)}"
        return visitor

    def _seal(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()

    def _cookie(self) -> str:
        """Its name; cookies know no ports, and two projects may be looked through on one machine."""
        port = urlsplit(f"//{request.environ.get('HTTP_HOST', '')}").netloc.rpartition(":")[2]
        return f"imageloom_review_{port if port.isdecimal() else 80}"
