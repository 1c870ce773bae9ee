"""Keeps the start-up messages of TensorFlow and LiteRT off the terminal; nowhere else is anything silenced."""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()


def start_up() -> None:
    """Silences what libraries say when they start that a user can do nothing about; to be called before any of them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("ABSL_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")  # images.py has a limit of its own
    for module in ("tensorflow", "tf_keras", "tensorflow_hub", "google", "mlflow", "jax", "PIL"):
        warnings.filterwarnings("ignore", module=rf"{module}(\..*)?")


@contextmanager
def no_native_stderr() -> Iterator[None]:
    """Sends what C++ writes to standard error nowhere; a Python exception raised inside still reaches its catcher."""
    with _lock:
        saved = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(nowhere)
