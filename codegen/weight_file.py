"""The packed weight file: safetensors whose payload is the weight slab, byte for byte.

Gaps between tensors are filled by entries named `.pad.<n>`, since the format allows no holes; the header is padded
so that the payload starts at a multiple of 256. `__metadata__` carries the layout's fingerprint and the payload's
CRC-32, which `include/cnngen/weights.hpp` checks.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Container
from pathlib import Path

import numpy as np

from cnngen.codegen.graph import unused
from cnngen.codegen.passes.plan_weights import ALIGNMENT, WeightTable, layout_fingerprint

TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


def write_weight_file(table: WeightTable, path: Path) -> None:
    """Writes the slab. Raises OSError where the disk does."""
    header: dict[str, object] = {}
    chunks: list[bytes | memoryview] = []
    end, crc = 0, 0
    names = {tensor.name for tensor in table.tensors}
    for tensor in table.tensors:
        _pad(header, chunks, end, tensor.offset, names)
        end = tensor.offset + tensor.bytes
        header[tensor.name] = {
            "dtype": TYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [tensor.offset, end],
        }
        chunks.append(np.ascontiguousarray(tensor.data).view(np.uint8).reshape(-1).data)
    _pad(header, chunks, end, table.bytes, names)
    for chunk in chunks:
        crc = zlib.crc32(chunk, crc)
    metadata = {"format": "cnngen", "layout": layout_fingerprint(table), "crc32": f"{crc:08x}"}
    text = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for chunk in chunks:
            file.write(chunk)


def _pad(
    header: dict[str, object], chunks: list[bytes | memoryview], start: int, end: int, names: Container[str]
) -> None:
    if start < end:
        name = unused(f".pad.{len(header)}", names)
        header[name] = {"dtype": "U8", "shape": [end - start], "data_offsets": [start, end]}
        chunks.append(bytes(end - start))
