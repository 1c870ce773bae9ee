"""Where the server that `make ui` started is to be found, without importing Prefect."""

import urllib.request

from flows import HOME

# While `make ui` runs, this file holds the address of its server's API; the recrawl writes it when it is waiting.
ADDRESS = HOME / "api_url"


def running() -> str | None:
    """The address of the API of the server that `make ui` started, if it answers."""
    address = written()
    return address if address and answers(f"{address}/health") else None


def written() -> str | None:
    """The address of that API, whether or not it still answers; None where `make ui` is not up."""
    try:
        return ADDRESS.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def answers(address: str) -> bool:
    """Whether an HTTP server on this machine answers there with success."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not know this machine's ports
    try:
        with opener.open(address, timeout=2) as response:
            return bool(response.status < 400)
    except (OSError, ValueError):
        return False
