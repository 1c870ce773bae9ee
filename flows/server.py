"""Runs a flow from the command line: with the server of `make ui` where it is up, else with one that lives as long."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.address import running


def run(flow: Callable[..., Any], **parameters: Any) -> int:
    """Runs a flow to its end.

    Returns:
        0 when it completed, 2 when it failed, 130 after Ctrl-C.
    """
    try:
        with _settings():
            state: State = flow(**parameters, return_state=True)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was finished before is kept\n")
        return 130
    if not state.is_completed():
        sys.stderr.write(f"error: {state.message or state.name}\n")
        return 2
    return 0


@contextmanager
def _settings() -> Iterator[None]:
    address = None if PREFECT_API_URL.value() else running()
    if address is None:
        yield
        return
    with temporary_settings({PREFECT_API_URL: address}):
        yield
