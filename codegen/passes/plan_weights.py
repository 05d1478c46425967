"""Every constant's place in the weight slab: in the layout the kernels read, 256-byte aligned, equal ones once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cnngen.codegen.graph import Array, Constant, Graph, Shape, unused
from cnngen.codegen.storage import to_memory
from cnngen.spec.types import ElementType

ALIGNMENT = 256


@dataclass(frozen=True, eq=False)
class PackedWeight:
    """A tensor of the slab."""

    name: str
    shape: Shape  # as it lies in memory: K, R, S, C for a filter
    dtype: ElementType
    offset: int
    data: Array

    @property
    def bytes(self) -> int:
        return self.data.nbytes


@dataclass(frozen=True)
class WeightTable:
    """The weight slab."""

    tensors: tuple[PackedWeight, ...]  # by offset
    bytes: int
    places: tuple[Mapping[str, PackedWeight], ...]  # constant's name -> tensor, one mapping a graph


def plan_weights(graphs: Sequence[Graph]) -> WeightTable:
    """The slab for the graphs of all batch sizes, in order of first use."""
    tensors: dict[bytes, PackedWeight] = {}
    names = {"__metadata__"}  # what the weight file's format has taken
    places: list[Mapping[str, PackedWeight]] = []
    packed: dict[str, tuple[Constant, PackedWeight]] = {}
    offset = 0
    for graph in graphs:
        found: dict[str, PackedWeight] = {}
        for name in _in_order_of_use(graph):
            constant = graph.constants[name]
            # Another batch size has most often made the same constant: to compare is cheaper than to pack again.
            if name in packed and _same(packed[name][0], constant):
                found[name] = packed[name][1]
                continue
            data = to_memory(constant.array, constant.value)
            digest = _digest(data, constant.value.dtype)
            if digest not in tensors:
                unique = unused(name, names)
                names.add(unique)
                tensors[digest] = PackedWeight(unique, data.shape, constant.value.dtype, offset, data)
                offset += -(-data.nbytes // ALIGNMENT) * ALIGNMENT
            found[name] = tensors[digest]
            packed[name] = constant, tensors[digest]
        places.append(found)
    return WeightTable(tuple(tensors.values()), offset, tuple(places))


def _in_order_of_use(graph: Graph) -> list[str]:
    return list(
        dict.fromkeys(name for node in graph.nodes for name in node.inputs if name in graph.constants)
    )


def _same(a: Constant, b: Constant) -> bool:
    return a.value == b.value and (a.key == b.key or np.array_equal(a.array, b.array))


def _digest(data: Array, dtype: ElementType) -> bytes:
    head = f"{dtype}{data.shape}".encode()
    return hashlib.blake2b(head + data.reshape(-1).view(np.uint8).data, digest_size=16).digest()


def layout_fingerprint(table: WeightTable) -> str:
    """Sixteen hex digits of where everything lies: a weight file of another layout must not be read."""
    text = "\n".join(f"{t.name} {t.dtype} {t.shape} {t.offset}" for t in table.tensors)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
