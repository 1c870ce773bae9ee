"""Reads the tensors of an old-style PyTorch checkpoint without PyTorch, and without running what a pickle asks for.

The file is three small pickles (magic number, protocol, system), one pickle of the state dict whose tensors refer to
storages by key, one pickle with the list of keys, and then each storage: its length as int64 and its raw values. The
format is what `torch.save` wrote before 1.6 (torch/serialization.py, `_legacy_save`).
"""

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imageloom.errors import ModelError

_MAGIC = 0x1950A86A20F9469CFC6C


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # like the offset in numbers, not bytes


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}


class _Unpickler(pickle.Unpickler):
    """Builds nothing but ordered dicts and descriptions of tensors."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"refused to load {module}.{name}") from None

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, *_ = pid
        return _Storage(key, dtype)


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Reads a checkpoint's tensors by name, as PyTorch names and lays them out.

    Args:
        path: A checkpoint of float32 and int64 tensors.

    Raises:
        ModelError: It is not such a file, is cut short, or its pickle asks for anything but tensors.
    """
    file = io.BytesIO(path.read_bytes())
    try:
        if _Unpickler(file).load() != _MAGIC:
            raise pickle.UnpicklingError("no checkpoint")
        _Unpickler(file).load()  # protocol version
        _Unpickler(file).load()  # byte order and integer sizes of the machine that wrote it
        tensors: dict[str, _Tensor] = _Unpickler(file).load()
        keys: list[str] = _Unpickler(file).load()
        dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in tensors.values()}
        storages = {key: _read_storage(file, dtypes[key]) for key in keys}
        return {name: _view(tensor, storages) for name, tensor in tensors.items()}
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError) as fault:
        raise ModelError(f"{path.name} is not a checkpoint that can be read: {fault}", "install it again") from fault


def _read_storage(file: io.BytesIO, dtype: np.dtype) -> np.ndarray:
    length = int.from_bytes(file.read(8), "little")
    raw = file.read(length * dtype.itemsize)
    return np.frombuffer(raw, dtype, count=length)


def _view(tensor: _Tensor, storages: dict[str, np.ndarray]) -> np.ndarray:
    values, size = storages[tensor.storage.key], tensor.storage.dtype.itemsize
    strides = [size * stride for stride in tensor.strides]
    # NumPy itself refuses what lies outside the storage. A copy, since many readers want contiguous numbers.
    return np.ndarray(tensor.shape, values.dtype, values.data, size * tensor.offset, strides).copy("C")
