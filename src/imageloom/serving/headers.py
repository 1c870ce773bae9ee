"""What a browser is told beside every answer, and which other sites' pages may ask."""

from bottle import HTTPResponse, request, response

from imageloom.serving.problems import RequestError

# `channel` sends them with every answer. Nothing but our own files and the pictures that the visitor chose; no other
# site may frame the page.
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

OWN_ONLY = "same-origin"
_PREFLIGHT_SECONDS = "600"

# What looks at a picture, and fetches it, although it is asked without a body.
LOOKING = ("/predict", "/classify-url")


class Origins:
    """Who may ask from a browser: our own page, and the pages of the origins listed (CORS, Fetch Standard 3.2).

    Args:
        allowed: Origins such as `https://shop.example`, or `*` for all.
    """

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self.allowed = allowed

    def check(self) -> None:
        """Answers a browser's question whether it may ask; refuses what a page of another origin sends.

        Raises:
            RequestError: 403, the page that asks is not one of ours.
            HTTPResponse: 204, the answer to the question.
        """
        origin = request.environ.get("HTTP_ORIGIN")
        if origin is None and request.environ.get("HTTP_SEC_FETCH_SITE", "none") in ("none", OWN_ONLY):
            return
        # Not the scheme: a proxy in front of us may speak TLS.
        if origin is not None and origin.partition("://")[2] == request.environ.get("HTTP_HOST"):
            return
        if not self._lets(origin):
            # Without this, any page that its visitor opens could put pictures into the inbox, or have them fetched
            # from where only we can: by an <img>, which tells no Origin. It could not read the answer.
            if request.method not in ("GET", "HEAD") or request.path in LOOKING:
                raise RequestError(403, "pages of other sites may not ask for this; see the option --cors")
            return
        if request.method == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in request.environ:
            raise HTTPResponse("", 204)

    def add_headers(self) -> None:
        """Adds to the answer what the browser needs to know."""
        origin = request.environ.get("HTTP_ORIGIN")
        if self.allowed:
            response.headers["Vary"] = "Origin"
        if origin is None or not self._lets(origin):
            response.headers["Cross-Origin-Resource-Policy"] = OWN_ONLY
            return
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        response.headers["Access-Control-Allow-Origin"] = "*" if "*" in self.allowed else origin
        response.headers["Access-Control-Expose-Headers"] = "Server-Timing, Retry-After"
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = "GET, POST"
            response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
            response.headers["Access-Control-Max-Age"] = _PREFLIGHT_SECONDS

    def _lets(self, origin: str | None) -> bool:
        return "*" in self.allowed or origin in self.allowed
