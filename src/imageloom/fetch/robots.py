"""What a host asks of crawlers: its robots.txt (RFC 9309), and the header `X-Robots-Tag` of a single answer."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protego import Protego

LONGEST = 500 * 1024  # bytes that RFC 9309 wants read at least; what follows is passed over

# What an answer's header says when its picture is not for those who train models, or not for collections at all.
OPT_OUTS = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})

_WITH_VALUE = frozenset({"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"})


@dataclass(frozen=True)
class Rules:
    """One host's robots.txt, for one crawler.

    Args:
        agent: Who asks, by `name_of`.
        file: The rules; None where there are none and all is allowed.
        closed: Why nothing is allowed; empty where the rules decide.
    """

    agent: str
    file: "Protego | None" = None
    closed: str = ""

    def refusal(self, url: str) -> str | None:
        """Why an address of this host is not to be asked; None when it may be."""
        if self.closed:
            return self.closed
        if self.file is None or self.file.can_fetch(url, self.agent):
            return None
        return f"robots.txt refuses {self.agent}"

    @property
    def delay(self) -> float:
        """Seconds between two requests that the host asks for."""
        return (self.file.crawl_delay(self.agent) or 0.0) if self.file else 0.0


def name_of(user_agent: str) -> str:
    """The crawler's name, which hosts know it by: the first word of its user agent, without its version."""
    return user_agent.split("/")[0].split()[0].lower()


def read_rules(code: int, body: bytes, agent: str) -> Rules:
    """The rules in an answer to a request for robots.txt.

    Args:
        code: Its HTTP status. 4xx means that there are no rules, and so does a redirect that leads nowhere; 429 and 5xx
            mean that they cannot be known now, and then nothing is allowed.
        body: Its content.
        agent: Who asks, by `name_of`.
    """
    if 300 <= code < 500 and code != 429:
        return Rules(agent)
    if code != 200:
        return Rules(agent, closed=f"robots.txt answered HTTP {code}")
    from protego import Protego

    return Rules(agent, Protego.parse(body[:LONGEST].decode("utf-8-sig", "replace")))


def opted_out(headers: Iterable[str], agent: str) -> str | None:
    """The word by which an answer's `X-Robots-Tag` headers take its picture out; None when they do not.

    A header may be for one crawler only, as in `otherbot: noindex, nofollow`.
    """
    for header in headers:
        meant = True
        for part in header.lower().split(","):
            name, colon, word = (piece.strip() for piece in part.partition(":"))
            if colon and name not in _WITH_VALUE:
                meant = name in (agent, "*")
            else:
                word = name
            if meant and word in OPT_OUTS:
                return word
    return None
