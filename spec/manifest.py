"""The text manifest: one line a tensor, beside one binary.

A line is `name,type,offset,size,shape`, as in `conv1,weights,0,1728,16,3,3,3`:

- name: the layer. A name that holds a comma, `"` or `#`, or a space at an end, stands in double quotes.
- type: the tensor's role in the layer: `weights`, `biases`, or another as the spec names it (`running_mean`).
  `tensor`: the name is the tensor's whole name. Elements are float32, unless the type ends in `:float16` or
  `:bfloat16`.
- offset, size: in bytes, into the binary of the same name and the suffix `.bin`; little-endian.
- shape: the remaining numbers, the outermost axis first: out, in, h, w.

Empty lines, lines that begin with `#` and a first line `name,type,offset,size,shape` are skipped.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import numpy.typing as npt

from cnngen.spec.errors import Problem, WeightError
from cnngen.spec.types import Shape

Array = npt.NDArray[np.generic]

ELEMENT_TYPES: dict[str, np.dtype[np.generic]] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
_ALIGNMENT = 16
_ROLES = {"weight": "weights", "bias": "biases"}  # in a tensor's name: in the manifest
_HEADER = "name,type,offset,size,shape"


@dataclass(frozen=True)
class Entry:
    """A tensor of the binary: its whole name, element type, place in bytes and shape."""

    name: str
    dtype: str
    offset: int
    size: int
    shape: Shape


class Manifest(Mapping[str, Array]):
    """The tensors of a manifest by name: read-only views of the mapped binary.

    Raises WeightError when the manifest is malformed (each line with its number) or the binary too short.
    """

    def __init__(self, path: Path) -> None:
        """Reads the manifest and maps the binary beside it."""
        binary = path.with_suffix(".bin")
        try:
            text = path.read_text(encoding="utf-8")
            size = binary.stat().st_size
        except OSError as error:
            raise WeightError(
                Problem(f"cannot read {error.filename}: {error.strerror}", where=str(path))
            ) from None
        except UnicodeDecodeError as error:
            raise WeightError(Problem(f"not a text in UTF-8: {error.reason}", where=str(path))) from None
        self._entries = {entry.name: entry for entry in parse_manifest(text, str(path))}
        need = max((entry.offset + entry.size for entry in self._entries.values()), default=0)
        if need > size:
            raise WeightError(
                Problem(
                    f"{binary.name} has {size} bytes, the manifest needs {need}: it is truncated",
                    where=str(path),
                )
            )
        self._bytes: Array = np.memmap(binary, np.uint8, "r") if size else np.zeros(0, np.uint8)

    def __getitem__(self, name: str) -> Array:
        entry = self._entries[name]
        view = self._bytes[entry.offset : entry.offset + entry.size].view(np.ndarray)
        return np.frombuffer(view, ELEMENT_TYPES[entry.dtype]).reshape(entry.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def parse_manifest(text: str, file: str) -> list[Entry]:
    """The entries of a manifest's text. Raises WeightError with every malformed line."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#") or (number == 1 and line.strip() == _HEADER):
            continue
        try:
            entry = _parse_line(line)
        except ValueError as error:
            problems.append(Problem(str(error), where=f"{file}:{number}"))
            continue
        if entry.name in lines:
            text = f"tensor {entry.name!r} stands twice, first in line {lines[entry.name]}"
            problems.append(Problem(text, where=f"{file}:{number}"))
        lines[entry.name] = number
        entries.append(entry)
    if problems:
        raise WeightError(problems)
    return entries


def format_manifest(tensors: Mapping[str, Array]) -> tuple[str, list[Entry]]:
    """The manifest's text for `tensors`, and where each goes in the binary."""
    lines = [_HEADER]
    entries: list[Entry] = []
    offset = 0
    for name, array in tensors.items():
        dtype = array.dtype.name
        entry = Entry(name, dtype, offset, array.nbytes, array.shape)
        layer, role = _split(name)
        suffix = "" if dtype == "float32" else f":{dtype}"
        fields = (_quoted(layer), _quoted(role) + suffix, offset, array.nbytes, *array.shape)
        lines.append(",".join(map(str, fields)))
        entries.append(entry)
        offset += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    return "\n".join(lines) + "\n", entries


def _quoted(text: str) -> str:
    special = text != text.strip() or any(c in text for c in ',"#')
    return '"' + text.replace('"', '""') + '"' if special else text


def _parse_line(line: str) -> Entry:
    try:
        fields = next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise ValueError(f"not a line of {_HEADER}: {error}") from None
    if len(fields) < 4:
        raise ValueError(f"expected {_HEADER}, got {len(fields)} fields")
    role, _, dtype = fields[1].strip().partition(":")
    dtype = dtype or "float32"
    if dtype not in ELEMENT_TYPES:
        raise ValueError(f"unknown element type {dtype!r}; allowed: {', '.join(ELEMENT_TYPES)}")
    numbers = []
    for what, field in zip(("offset", "size", *["shape"] * (len(fields) - 4)), fields[2:], strict=True):
        digits = field.strip()
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
            raise ValueError(f"{what}: expected a whole number, got {field!r}")
        numbers.append(int(digits))
    offset, size, *shape = numbers
    need = math.prod(shape) * ELEMENT_TYPES[dtype].itemsize
    if size != need:
        raise ValueError(
            f"size {size} is not that of {shape} in {dtype}: {need} bytes; write {role}:<element type>"
        )
    return Entry(_join(fields[0], role), dtype, offset, size, tuple(shape))


def _split(name: str) -> tuple[str, str]:
    layer, _, role = name.rpartition(".")
    plain = role.isidentifier() and role == role.lower() and role not in (*_ROLES.values(), "tensor")
    return (layer, _ROLES.get(role, role)) if layer and role and plain else (name, "tensor")


def _join(layer: str, role: str) -> str:
    role = role.lower()
    if role == "tensor":
        return layer
    singular = {plural: one for one, plural in _ROLES.items()}
    return f"{layer}.{singular.get(role, role)}"
