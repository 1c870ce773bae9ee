"""How many pictures a second one client may ask about: a token bucket for each (Turner 1986, leaky bucket)."""

import ipaddress
import threading
import time
from collections import OrderedDict

_BURST_SECONDS = 5.0  # of pictures may come at once, after a pause
_MAX_CLIENTS = 10_000  # of which is remembered; the least recently seen are forgotten
_IPV6_NETWORK = 64  # bits: one customer has at least all addresses below them


class Rates:
    """Safe to call from several threads.

    Args:
        rate: Pictures a second.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._burst = max(1.0, rate * _BURST_SECONDS)
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when that was

    def take(self, client: str, must: bool = False) -> float:
        """Counts a picture of a client.

        Args:
            client: Its address.
            must: Whether it is answered anyway; what is missing then delays the next ones.

        Returns:
            0 where it may be answered, else the seconds until it may.
        """
        key, now = _key(client), time.monotonic()
        with self._lock:
            left, since = self._buckets.pop(key, (self._burst, now))
            left = min(self._burst, left + (now - since) * self._rate)
            wait = max(0.0, (1 - left) / self._rate)
            if must or wait == 0:
                left -= 1
            self._buckets[key] = left, now
            if len(self._buckets) > _MAX_CLIENTS:
                self._buckets.popitem(last=False)
        return 0.0 if must else wait


def _key(client: str) -> str:
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if address.version == 4:
        return client
    return str(ipaddress.ip_network((int(address), _IPV6_NETWORK), strict=False))
