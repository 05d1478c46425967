"""Reads a PyTorch checkpoint of float tensors without PyTorch, and without running what stands in it.

A pickle can call any function while it is loaded. This reader knows the names that a state dict needs and
refuses every other. It reads the format that `torch.save` wrote until version 1.5: five pickles (magic
number, protocol, system, the state dict with references to storages, the storages' keys), then each storage
as its number of elements and its raw values, little-endian. Later versions write a zip archive.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
ELEMENTS = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class CheckpointError(ValueError):
    """The file is not a checkpoint of this format, is damaged, or asks for more than a state dict may."""


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: str
    elements: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """The state dict's tensors by name.

    Raises:
        CheckpointError: says what is wrong with the file.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            return _read(file)
        except CheckpointError:
            raise
        except (
            pickle.UnpicklingError,
            EOFError,
            LookupError,
            AttributeError,
            TypeError,
            ValueError,
        ) as error:
            raise CheckpointError(f"the checkpoint is damaged: {error}") from error


class _StateDictUnpickler(pickle.Unpickler):
    """Knows ordered dictionaries, tensors and their storages; nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, shape, strides)
        if module == "torch" and name in ELEMENTS:
            return name
        raise CheckpointError(f"the checkpoint asks for {module}.{name}, which a state dict has no need of")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, element, key, _, elements, view = pid
        if kind != "storage" or view is not None:
            raise CheckpointError("the checkpoint holds something else than storages")
        return _Storage(key, ELEMENTS[element], elements)


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    if _unpickle(file) != MAGIC:
        raise CheckpointError("the file is no checkpoint of PyTorch's format before version 1.6")
    _unpickle(file)  # the protocol's version
    if not _unpickle(file)["little_endian"]:
        raise CheckpointError("the checkpoint was written on a big-endian machine")
    state, keys = _unpickle(file), _unpickle(file)
    storages = {tensor.storage.key: tensor.storage for tensor in state.values()}
    values = {key: _read_storage(file, storages[key]) for key in keys}
    return {name: _take(name, tensor, values) for name, tensor in state.items()}


def _unpickle(file: BinaryIO) -> Any:
    return _StateDictUnpickler(file, encoding="utf-8").load()


def _read_storage(file: BinaryIO, storage: _Storage) -> np.ndarray:
    elements = int.from_bytes(file.read(8), "little")
    if elements != storage.elements:
        raise CheckpointError(f"storage {storage.key} has {elements} elements instead of {storage.elements}")
    return np.frombuffer(file.read(elements * np.dtype(storage.dtype).itemsize), storage.dtype)


def _take(name: str, tensor: _Tensor, values: Mapping[str, np.ndarray]) -> np.ndarray:
    contiguous = tuple(math.prod(tensor.shape[axis + 1 :]) for axis in range(len(tensor.shape)))
    if tensor.strides != contiguous:
        raise CheckpointError(f"{name} is not contiguous: shape {tensor.shape}, strides {tensor.strides}")
    flat = values[tensor.storage.key][tensor.offset : tensor.offset + math.prod(tensor.shape)]
    return flat.reshape(tensor.shape)
