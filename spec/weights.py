"""Weight files: reading lazily, checking against a spec, writing whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save_file

from cnngen.spec.errors import Problem, WeightError, nearest
from cnngen.spec.manifest import ELEMENT_TYPES, Array, Manifest, format_manifest
from cnngen.spec.ops.base import show
from cnngen.spec.resolve import Resolved

_MANIFESTS = (".manifest", ".txt")


class Safetensors(Mapping[str, Array]):
    """The tensors of a safetensors file by name; each is read when asked for.

    Raises WeightError when the file cannot be read or is damaged.
    """

    def __init__(self, path: Path) -> None:
        """Reads the header and checks it against the file's size."""
        try:
            self._file: Any = safetensors.safe_open(path, "numpy")
        except OSError as error:
            raise WeightError(
                Problem(f"cannot read the weights: {error.strerror or error}", where=str(path))
            ) from None
        except safetensors.SafetensorError as error:
            text = f"not a safetensors file, truncated or altered: {error}"
            raise WeightError(Problem(text, where=str(path))) from None
        names: list[str] = self._file.keys()  # type: ignore[no-untyped-call]
        self._names = dict.fromkeys(sorted(names))
        self._path = path

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        try:
            array: Array = self._file.get_tensor(name)
        except (safetensors.SafetensorError, TypeError, AttributeError) as error:
            raise WeightError(
                Problem(f"cannot read tensor {name!r}: {error}", where=str(self._path))
            ) from None
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def load_weights(path: str | PathLike[str]) -> Mapping[str, Array]:
    """The tensors of a .safetensors file or a manifest (.manifest, .txt) by name, read when asked for.

    Raises WeightError when the file is missing, truncated, malformed or of another kind.
    """
    file = Path(path)
    if file.suffix == ".safetensors":
        return Safetensors(file)
    if file.suffix in _MANIFESTS:
        return Manifest(file)
    raise WeightError(Problem(_other_kind(file), where=str(file)))


def save_weights(path: str | PathLike[str], tensors: Mapping[str, Array]) -> None:
    """Writes a weight file of the kind that the suffix names; the file is complete or not there.

    Raises WeightError when the suffix or an element type is not possible, or the disk refuses.
    """
    file = Path(path)
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    wrong = [
        Problem(f"tensor {name!r} is {array.dtype}; allowed: {', '.join(ELEMENT_TYPES)}", where=str(file))
        for name, array in arrays.items()
        if array.dtype.name not in ELEMENT_TYPES
    ]
    if wrong:
        raise WeightError(wrong)
    if file.suffix == ".safetensors":
        _write(file, lambda target: save_file(arrays, target))
    elif file.suffix in _MANIFESTS:
        text, entries = format_manifest(arrays)

        def write_binary(target: Path) -> None:
            with target.open("wb") as out:
                for entry in entries:
                    out.write(b"\0" * (entry.offset - out.tell()))
                    out.write(arrays[entry.name].tobytes())

        _write(file.with_suffix(".bin"), write_binary)
        _write(file, lambda target: target.write_text(text, encoding="utf-8", newline="\n"))
    else:
        raise WeightError(Problem(_other_kind(file), where=str(file)))


def check_weights(resolved: Resolved, weights: Mapping[str, Array]) -> None:
    """Raises WeightError with every weight that is missing, misshapen or of a wrong type."""
    problems = []
    unused = [name for name in weights if name not in resolved.weights]
    for layer in resolved.layers:
        for role, ref in layer.parameters.items():
            if ref.name not in weights:
                hint = nearest(ref.name, unused, cutoff=0.8)
                text = f"{role} {ref.name!r} {show(ref.shape)} is missing from the weights{hint}"
            else:
                text = _mismatch(role, ref.name, ref.shape, weights[ref.name])
            if text:
                problems.append(Problem(text, layer=layer.layer.name))
    if problems:
        raise WeightError(problems)


def _mismatch(role: str, name: str, shape: tuple[int, ...], found: Array) -> str:
    if found.shape != shape:
        return f"{role} {name!r} must be {show(shape)}, the file has {show(found.shape)}"
    allowed = (*ELEMENT_TYPES, "int32", "int64") if role == "indices" else tuple(ELEMENT_TYPES)
    if found.dtype.name not in allowed:
        return f"{role} {name!r} must be {', '.join(allowed)}, the file has {found.dtype.name}"
    return ""


def _other_kind(file: Path) -> str:
    pickle = file.suffix in (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
    why = "; pickles run code when loaded, convert it to safetensors" if pickle else ""
    return f"expected a .safetensors, .manifest or .txt file, got {file.name!r}{why}"


def _write(file: Path, write: Callable[[Path], object]) -> None:
    """Writes beside the file and puts it in place when complete."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        os.close(handle)
        part = Path(name)
        try:
            write(part)
            part.chmod(0o644)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, safetensors.SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightError(Problem(f"cannot write the weights: {reason}", where=str(file))) from None
