"""By which names a server is asked for, and which of them can only mean this machine.

The name of another site's page may be made to lead to this machine once the page is loaded; what it asks here is then
of its own origin, and nothing but the name tells (Jackson et al., "Protecting Browsers from DNS Rebinding Attacks",
2007).
"""

import functools
import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

_REMEMBERED = 256  # values of Host


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Hosts:
    """The names of this machine, and others.

    Args:
        names: The others; `*` stands for any.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {_plain(name) for name in names}
        self.knows = functools.lru_cache(_REMEMBERED)(self._knows)

    def _knows(self, host: str) -> bool:
        """Whether the header Host, with or without a port, says one of them."""
        if "*" in self._names:
            return True
        try:
            name = _plain(urlsplit(f"//{host}").hostname or "")
        except ValueError:
            return False
        return name in self._names or name.endswith(".localhost") or is_loopback(name)


def _plain(name: str) -> str:
    """A name as it is compared: in small letters, without the dot that may end it, or the brackets of IPv6."""
    return name.lower().removesuffix(".").strip("[]")
