"""No way in: an address that comes from outside must not reach inside.

For a crawl, and for a server that fetches what its clients name. A `Guard` checks an address as it is written, and
`checked_resolver` what its host's name stands for; the connection is made to exactly what was checked, so that a name
server which answers otherwise the second time gains nothing. Each hop of a redirect is an address of its own.
"""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from imageloom.errors import ImageloomError

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver, ResolveResult
    from yarl import URL

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
HostPort = tuple[str, int | None]  # None: at every port
NetworkPort = tuple[Network, int | None]

PORTS = (80, 443, 8080, 8443)

# IANA's registries of special-purpose addresses, and one more: Python's own `is_global` changed with its versions.
_INSIDE: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), name)
    for network, name in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a provider's customers"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's inner service"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
        ("2001::/32", "a Teredo tunnel"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "a 6to4 tunnel"),
        ("3fff::/20", "for documentation"),
    )
)
_PUBLIC_IPV6 = IPv6Network("2000::/3")  # nothing outside it is given to anyone's public server

# IPv6 addresses that end in the IPv4 address which they lead to: IPv4-mapped, and NAT64 on networks without IPv4.
_EMBEDDING = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class BlockedAddressError(ImageloomError):
    """An address that is not asked; the message says why."""


@dataclass(frozen=True)
class Guard:
    """What may be asked: what is listed, inside or not, at its port or at every one; and what is outside, at `ports`.

    Args:
        hosts: Hosts that are listed, by the name or the address that stands in what is asked.
        networks: Networks that are listed: whatever is in them, and names that stand for it.
        ports: Where all other hosts may be asked.
    """

    hosts: frozenset[HostPort] = frozenset()
    networks: tuple[NetworkPort, ...] = ()
    ports: frozenset[int] = frozenset(PORTS)

    @classmethod
    def of(cls, allow_hosts: Sequence[str] = (), allow_ports: Sequence[int] = ()) -> "Guard":
        """A guard that lets through what is listed, and ports beyond `PORTS`.

        Raises:
            ValueError: An entry is no host, host:port or network.
        """
        hosts: set[HostPort] = set()
        networks: list[NetworkPort] = []
        for text in allow_hosts:
            place, port = allowance(text)
            if isinstance(place, str):
                hosts.add((place, port))
            else:
                networks.append((place, port))
        return cls(frozenset(hosts), tuple(networks), frozenset((*PORTS, *allow_ports)))

    def check(self, url: "URL") -> None:
        """Checks an address as it is written.

        Raises:
            BlockedAddressError: It must not be asked.
        """
        if url.scheme not in ("http", "https"):
            raise BlockedAddressError("not an http or https address")
        if url.raw_user is not None or url.raw_password is not None:
            raise BlockedAddressError("names a user: what looks like its host may not be")
        host, port = url.raw_host or "", url.port or 0
        if self.names(host, port):
            return
        address = _literal(host)
        if address is not None:
            self.check_address(address, host, port)
        elif port not in self.ports and not self.networks:  # else what the name stands for decides
            raise _other_port(host, port)

    def check_address(self, address: Address, host: str, port: int) -> None:
        """Checks an address that a connection would be made to.

        Args:
            address: The address.
            host: What stands for it in what is asked: a name, or itself.
            port: The port.

        Raises:
            BlockedAddressError: It is inside, or the port is another service's, and nothing that is listed allows it.
        """
        if any(address in network and only in (None, port) for network, only in self.networks):
            return
        what = inside(address)
        if what:
            who = f"{address} is" if _plain(host) == str(address) else f"{host} is {address}, which is"
            raise BlockedAddressError(f"{who} {what}; {_unless_listed(host, port)}")
        if port not in self.ports:
            raise _other_port(host, port)

    def names(self, host: str, port: int) -> bool:
        """Whether the host is listed by its name."""
        return bool(self.hosts) and bool({(_plain(host), port), (_plain(host), None)} & self.hosts)


def _other_port(host: str, port: int) -> BlockedAddressError:
    return BlockedAddressError(f"port {port} may be another service's; {_unless_listed(host, port)}")


def _unless_listed(host: str, port: int) -> str:
    """Says what to list so that this is asked, and nothing else."""
    return "asked only if scrape.allow_hosts has " + (f"[{host}]:{port}" if ":" in host else f"{_plain(host)}:{port}")


def inside(address: Address) -> str | None:
    """What kind of address this is when no public server can have it; None when one can."""
    if isinstance(address, IPv6Address):
        if any(address in network for network in _EMBEDDING):
            return inside(IPv4Address(int(address) & 0xFFFFFFFF))
        address = IPv6Address(int(address))  # without its zone, as in fe80::1%eth0
    for network, name in _INSIDE:
        if address in network:
            return name
    public = isinstance(address, IPv4Address) or address in _PUBLIC_IPV6
    return None if public else "reserved"


class AllowanceError(ValueError):
    """What is no entry of `scrape.allow_hosts`; `hint` says what was meant, or else what can be written."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint or "write it as intranet.example or 10.0.0.0/8 for every port, intranet.example:8000 for one"


def allowance(text: str) -> tuple[str | Network, int | None]:
    """One entry of `scrape.allow_hosts`: a host or a network such as 10.0.0.0/8, with the one port after it, if any.

    Raises:
        AllowanceError: It is neither.
    """
    from yarl import URL

    try:
        return _plain(str(ip_address(text))), None
    except ValueError:
        pass
    is_address = "://" in text
    base, slash, rest = text.partition("/")
    if slash and not is_address:
        length, colon, port = rest.partition(":")
        return _network(base, length), _port(port) if colon else None
    name, colon, port = text.rpartition(":")
    if colon and not is_address and _NAME.fullmatch(name.lower()):
        _port(port)
    try:
        url = URL(text if is_address else f"http://{text}")
        host, port_given = _plain(url.raw_host or ""), url.explicit_port
    except ValueError:
        raise AllowanceError(_ALLOWED) from None
    is_host = ":" in host or bool(_NAME.fullmatch(host))
    if is_host and (is_address or url.raw_user is not None or url != url.origin()):
        shown = f"[{host}]" if ":" in host else host
        raise AllowanceError(_ALLOWED, f"did you mean {shown + (f':{port_given}' if port_given else '')!r}?")
    if not is_host:
        raise AllowanceError(_ALLOWED)
    return host, port_given


_ALLOWED = "must be a host, a host:port, or a network such as 10.0.0.0/8"


def _network(base: str, length: str) -> Network:
    try:
        return ip_network(f"{base}/{length}")
    except ValueError:
        pass
    try:
        meant = ip_network(f"{base}/{length}", strict=False)
    except ValueError:
        is_name = _NAME.fullmatch(base.lower()) and not _NUMBER.fullmatch(base.rpartition(".")[2])
        raise AllowanceError(_ALLOWED, f"did you mean {base!r}?" if is_name else "") from None
    hint = f"did you mean the network '{meant}', or the host {base!r} alone?"
    raise AllowanceError("must be a network by its first address", hint)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:6]) < 1 << 16):
        raise AllowanceError("must have a port from 1 to 65535 after the colon")
    return int(text)


def checked_resolver(guard: Guard, inner: "AbstractResolver | None" = None) -> "AbstractResolver":
    """A resolver for aiohttp that gives nothing but checked addresses; aiohttp connects to what it gives.

    Args:
        guard: What may be asked.
        inner: Who is asked; the system where it is None.
    """
    from aiohttp.abc import AbstractResolver
    from aiohttp.resolver import ThreadedResolver

    class Checked(AbstractResolver):
        def __init__(self, inner: AbstractResolver) -> None:
            self._inner = inner

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> "list[ResolveResult]":
            answers = await self._inner.resolve(host, port, family)
            if not guard.names(host, port):
                for answer in answers:  # one address inside beside others outside is how names are rebound
                    guard.check_address(ip_address(answer["host"]), host, port)
            return answers

        async def close(self) -> None:
            await self._inner.close()

    return Checked(inner or ThreadedResolver())


def _literal(host: str) -> Address | None:
    """The address that a host is written as; None for a name.

    Raises:
        BlockedAddressError: It is neither, or an address in a form that only programs and attackers write: decimal,
            octal, hexadecimal, or with parts left out.
    """
    if ":" in host:
        try:
            return ip_address(host)
        except ValueError:
            raise BlockedAddressError(f"{host!r} is not a host") from None
    if not _NAME.fullmatch(host):
        raise BlockedAddressError(f"{host!r} is not a host")
    if not _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return None
    try:
        return IPv4Address(host)
    except ValueError:
        raise BlockedAddressError(f"{host!r} is an address in a form that may mean another") from None


def _plain(host: str) -> str:
    return host.lower().removesuffix(".")
