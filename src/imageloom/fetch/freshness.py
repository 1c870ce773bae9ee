"""How long an answer stays fresh (RFC 9111, section 4.2): until then what it gave need not be asked for again.

Only what a server says itself counts. The standard allows a guess where it says nothing, such as a tenth of the
picture's age; a crawl is there to find what has changed, so it asks.
"""

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

LONGEST = 365 * 86_400  # seconds: whoever says more means "for ever"

_DIRECTIVE = re.compile(r'([\w-]+)(?:\s*=\s*(?:"([^"]*)"|([^\s,"]*)))?')


def fresh_until(headers: "CIMultiDictProxy[str]", now: float) -> int:
    """When an answer ceases to be fresh.

    Args:
        headers: The answer's.
        now: When it came, in seconds since 1970.

    Returns:
        Seconds since 1970; 0 where it is stale from the start.
    """
    if not ("Cache-Control" in headers or "Expires" in headers) or "*" in headers.get("Vary", ""):
        return 0
    sent = http_date(headers.get("Date", "")) or now
    lifetime = _lifetime(",".join(headers.getall("Cache-Control", ())))
    if lifetime is None:
        lifetime = (http_date(headers.get("Expires", "")) or sent) - sent
    age = max(now - sent, _whole(headers.get("Age", "")) or 0)
    left = min(lifetime, LONGEST) - age
    return int(now + left) if left > 0 else 0


@lru_cache(64)  # a server's pictures of one second share their date
def http_date(text: str) -> float | None:
    """An HTTP date (RFC 9110, section 5.6.7) in seconds since 1970; None where it is none."""
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


@lru_cache(64)
def _lifetime(control: str) -> float | None:
    """Seconds that a `Cache-Control` gives; None where it says nothing of them.

    `s-maxage` is meant for caches that many share, and `must-revalidate` for what is no longer fresh.
    """
    # The first of several values counts.
    said = {name.lower(): quoted or plain for name, quoted, plain in reversed(_DIRECTIVE.findall(control))}
    if "no-store" in said or "no-cache" in said:
        return 0.0
    return float(_whole(said["max-age"]) or 0) if "max-age" in said else None


def _whole(text: str) -> int | None:
    return int(text[:12]) if text.isascii() and text.isdigit() else None
