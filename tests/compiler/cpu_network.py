"""The C++ text of a network on the CPU that holds hand-written operations, and its weight file."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .operations import Operation, stored

HEAD = """\
#include "cnngen/cpu/kernels/element.hpp"
#include "cnngen/cpu/features.hpp"
#include "cnngen/cpu/model.hpp"

namespace net {
namespace {
using namespace cnngen;

template <class To, class From>
void copy(std::int64_t count, const From* from, To* to) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = from_float<To>(to_float(from[i]));
}
// y = x + 1 of integers, and a mask.
void count_up(int n, const std::int32_t* x, std::int64_t* y, bool* odd) {
    for (int i = 0; i < 3 * n; ++i) {
        y[i] = x[i] + std::int64_t{1};
        odd[i] = x[i] % 2 != 0;
    }
}

"""
TAIL = """\
}  // namespace

Model& mutable_model() {
    static Model made = make_model();
    return made;
}
const Model& model() { return mutable_model(); }
}  // namespace net

extern "C" __attribute__((visibility("default"))) void need_features(unsigned features) {
    net::mutable_model().code.features = features;
}
"""
BATCHES = (1, 4)
ELEMENT = {"float32": "float", "bfloat16": "cnngen::bfloat16"}


def _numbers(values: Sequence[object]) -> str:
    return "{" + ", ".join(map(str, values)) + "}"


@dataclass
class Memory:
    """Places one after the other."""

    end: int = 0
    places: dict[str, int] = field(default_factory=dict)

    def place(self, name: str, size: int, alignment: int = 256) -> int:
        at = -(-self.end // alignment) * alignment
        self.end = at + size
        self.places[name] = at
        return at


class Text:
    """Collects the network's source."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.arena, self.slab = Memory(), Memory()
        self.payload = bytearray()
        self.inputs: list[tuple[str, tuple[int, ...], str]] = []
        self.outputs: list[tuple[str, tuple[int, ...], str]] = []
        self.lines: list[str] = []
        for operation in operations:
            self._add(operation)
        self._integers()

    def source(self) -> str:
        ports = {"inputs": self.inputs, "outputs": self.outputs}
        texts = {name: self._ports(ports[name]) for name in ports}
        sizes = _numbers([self.arena.end] * len(BATCHES))
        model = (
            'Model make_model() {\n    return {.name = "net", .precision = "as each operation says",\n'
            f"        .inputs = {texts['inputs']},\n        .outputs = {texts['outputs']},\n"
            f"        .batch_sizes = {_numbers(BATCHES)}, .arena_bytes = {sizes}, .weight_bytes = {self.slab.end},\n"
            '        .weight_file = "net.weights.safetensors", .weight_layout = "00000000000000aa",\n'
            "        .forward = forward};\n}\n"
        )
        body = "\n".join(f"    {line}" for line in self.lines)
        return f"{HEAD}void forward(Pass& p) {{\n    const std::int64_t n = p.batch();\n{body}\n}}\n{model}{TAIL}"

    def write_weights(self, path: Path) -> None:
        payload = bytes(self.payload.ljust(self.slab.end, b"\0"))
        described = {"format": "cnngen", "layout": "00000000000000aa", "crc32": f"{zlib.crc32(payload):08x}"}
        header = json.dumps({"__metadata__": described}).encode()
        header += b" " * (-(len(header) + 8) % 256)
        path.write_bytes(len(header).to_bytes(8, "little") + header + payload)

    def _ports(self, ports: Sequence[tuple[str, tuple[int, ...], str]]) -> str:
        texts = []
        for name, shape, dtype in ports:
            at = self.arena.place(f"port {name}", 8 * math.prod(shape) * BATCHES[-1])
            texts.append(
                f'{{.name = "{name}", .dtype = DType::{dtype}, .shape = {_numbers(shape)}, '
                f".staging = {_numbers([at] * len(BATCHES))}}}"
            )
        return "{" + ",\n            ".join(texts) + "}"

    def _weight(self, name: str, data: bytes) -> str:
        at = self.slab.place(name, len(data))
        self.payload = self.payload.ljust(at, b"\0") + data
        return f"p.weight(Weight{{{at}, {len(data)}}})"

    def _buffer(self, name: str, shape: tuple[int, ...]) -> str:
        at = self.arena.place(name, 4 * math.prod(shape) * BATCHES[-1])
        return f"p.at(Offsets{_numbers([at] * len(BATCHES))})"

    def _tensor(self, operation: Operation, address: str, shape: tuple[int, ...]) -> str:
        dtype = f"DType::{operation.dtype}"
        if operation.kind == "conv":
            h, w, c = shape
            return f"nhwc({address}, {dtype}, n, {c}, {h}, {w})"
        if operation.kind == "matmul":
            return f"rows({address}, {dtype}, n, {shape[0]})"
        return f"matrices({address}, {dtype}, n, {shape[0]}, {shape[1]})"

    def _load(self, operation: Operation, name: str, shape: tuple[int, ...], address: str) -> str:
        """Copies a new input port into the arena; gives the tensor."""
        index, element = len(self.inputs), ELEMENT[operation.dtype]
        self.inputs.append((name, shape, "float32"))
        tensor = self._tensor(operation, address, shape)
        self.lines.append(
            f'p.launch({{"{name}"}}, {tensor}, copy<{element}, float>, n * {math.prod(shape)}, '
            f"p.input<float>({index}), static_cast<{element}*>({address}));"
        )
        return tensor

    def _add(self, operation: Operation) -> None:
        name, dtype = operation.name, operation.dtype
        target = self._buffer(f"{name} y", operation.y_shape)
        tensors = {}
        for port, shape in operation.inputs():
            part = port.removeprefix(f"{name}_")
            in_place = part == "residual" and operation.in_place
            tensors[part] = self._load(
                operation, port, shape, target if in_place else self._buffer(port, shape)
            )
        for part, values in operation.weights.items():
            address = self._weight(f"{name}.{part}", stored(values, dtype))
            if part != "w":
                tensors[part] = f"vector({address}, DType::{dtype}, {operation.k})"
            elif operation.kind == "conv":
                shape = f"{operation.k}, {operation.c // operation.groups}, {operation.r}, {operation.s}"
                tensors["w"] = f"filter({address}, DType::{dtype}, {shape})"
            else:
                tensors["w"] = f"rows({address}, DType::{dtype}, {operation.k}, {operation.c})"
        y = self._tensor(operation, target, operation.y_shape)
        fields = [f'.layers = {{"{name}"}}', f".x = {tensors['x']}", f".w = {tensors['w']}", f".y = {y}"]
        if operation.kind == "conv":
            fields += [
                f".stride = {_numbers(operation.stride)}",
                f".padding = {_numbers(operation.pad)}",
                f".dilation = {_numbers(operation.dilation)}",
                f".groups = {operation.groups}",
            ]
        fields.append(f".epilogue = {_numbers([_step(step, tensors) for step in operation.steps])}")
        call = {"conv": "convolution"}.get(operation.kind, operation.kind)
        self.lines.append(f"p.{call}({{{', '.join(fields)}}});")
        index = len(self.outputs)
        self.outputs.append((name, operation.y_shape, "float32"))
        element = ELEMENT[dtype]
        self.lines.append(
            f'p.launch({{"{name} out"}}, {y}, copy<float, {element}>, n * {math.prod(operation.y_shape)}, '
            f"static_cast<const {element}*>({target}), p.output<float>({index}));"
        )

    def _integers(self) -> None:
        index, first = len(self.inputs), len(self.outputs)
        self.inputs.append(("numbers", (3,), "int32"))
        self.outputs += [("counted", (3,), "int64"), ("is_odd", (3,), "boolean")]
        self.lines.append(
            f'p.launch({{"counted"}}, rows(p.output<std::int64_t>({first}).data, DType::int64, n, 3), count_up, n, '
            f"p.input<std::int32_t>({index}), p.output<std::int64_t>({first}), p.output<bool>({first + 1}));"
        )


def _step(step: tuple[object, ...], tensors: dict[str, str]) -> str:
    name, *numbers = step
    if name in ("bias", "scale"):
        return f"{name}({tensors[name]})"
    if name in ("residual", "gate"):
        return f"{'add' if name == 'residual' else 'mul'}({tensors[name]})"
    return f"{name}({', '.join(f'{float(np.float32(number))!r}f' for number in numbers)})"  # type: ignore[arg-type]
