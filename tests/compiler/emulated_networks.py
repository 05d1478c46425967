"""Generated networks compiled as plain C++, and each of their steps held against the interpreter's value."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cnngen.codegen.emit.cuda_kernels import tile_options
from cnngen.codegen.emit.project import project_files
from cnngen.codegen.emit.titles import layer_names
from cnngen.codegen.graph import ITEM_BYTES, Array, Graph, Node, Value
from cnngen.codegen.interpret import run_node, run_op
from cnngen.codegen.node_ops import ProductSoftmax, SqueezeExcite
from cnngen.codegen.plan import BatchPlan, Plan, make_plan
from cnngen.codegen.storage import NUMPY_TYPES, from_memory, to_memory
from cnngen.codegen.tiles import DiagonalTile, tile_text

from ..unit.codegen.networks import Network
from .objects import precompiled
from .test_kernels import HERE, INCLUDE, cuda_root, run

HUGE = 1 << 28  # a batch whose elements 32 bits cannot number
# What storing may lose: a last place, since the interpreter rounds from float64.
LAST_PLACE = {"float32": 2.0**-22, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def number(value: int) -> bytes:
    return struct.pack("<Q", value)


def sized(data: bytes) -> bytes:
    return number(len(data)) + data


def job(plan: Plan, batch: BatchPlan, inputs: dict[str, Array]) -> bytes:
    """Weights, inputs, and the bytes behind each pointer of each kernel."""
    slab = bytearray(plan.weights.bytes)
    for tensor in plan.weights.tensors:
        slab[tensor.offset : tensor.offset + tensor.bytes] = tensor.data.tobytes()
    parts = [sized(bytes(slab))]
    parts += [sized(to_memory(inputs[value.name], value).tobytes()) for value in batch.graph.inputs]
    kernels = [node for node in batch.steps if node.form not in ("cudnn", "cublaslt")]
    parts.append(number(len(kernels)))
    for node in kernels:
        values = [batch.graph.values[name] for name in (*dict.fromkeys(node.inputs), node.name)]
        parts += [number(len(values)), *(number(reach(value)) for value in values)]
    return b"".join(parts)


def reach(value: Value) -> int:
    """Bytes from a value's first element to its last."""
    between = (value.pixel - value.shape[1]) * ITEM_BYTES[value.dtype] if value.pixel else 0
    return value.span - between


def split(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        yield data[at + 8 : at + 8 + size]
        at += 8 + size


def stored(data: bytes, value: Value) -> Array:
    return from_memory(np.frombuffer(data, NUMPY_TYPES[value.dtype]), value).astype(np.float64)


def scale(node: Node, inputs: Sequence[Array]) -> float:
    """The largest number that a step's sums may pass through."""
    largest = max((float(np.abs(array).max()) for array in inputs), default=0.0)
    if isinstance(node.op, ProductSoftmax):
        node = replace(node, op=node.op.product, form="logits")
    if node.form or isinstance(node.op, SqueezeExcite):
        largest = max(largest, float(run_op(node, [np.abs(array) for array in inputs]).max()))
    return max(1.0, largest)


def factors(node: Node, operands: list[Array], graph: Graph) -> list[Array]:
    """A depthwise convolution on tensor cores rounds its filters to the type of what it reads."""
    if node.form != "depthwise":
        return operands
    options = tile_options(node, graph, graph.batch)
    if not any(isinstance(tile, DiagonalTile) and tile_text(tile) == node.engine for tile in options):
        return operands
    x, filters = (graph.values[name] for name in node.inputs[:2])
    rounded = replace(filters, dtype=x.dtype)
    as_taken = stored(to_memory(operands[1], rounded).tobytes(), rounded)
    return [operands[0], as_taken, *operands[2:]]


def check_steps(batch: BatchPlan, inputs: dict[str, Array], results: Mapping[str, bytes]) -> None:
    """Each step's result against what the interpreter makes of the very inputs that the step had."""
    graph = batch.graph
    values = dict(inputs)
    for name, constant in graph.constants.items():
        values[name] = stored(to_memory(constant.array, constant.value).tobytes(), constant.value)
    for node in graph.nodes:
        operands = factors(node, [values[name] for name in node.inputs], graph)
        want = run_node(node, operands)
        if node.name not in results:  # a view
            values[node.name] = want
            continue
        values[node.name] = got = stored(results[node.name], node.value)
        np.testing.assert_allclose(
            got,
            want,
            rtol=LAST_PLACE.get(node.value.dtype, 0.0),
            atol=2e-6 * scale(node, operands) + (2.0**-24 if node.value.dtype == "float16" else 0.0),
            err_msg=f"{graph.name}, batch {graph.batch}, step {node.name}",
        )


def small(plan: Plan) -> list[BatchPlan]:
    return [batch for batch in plan.batches if batch.batch < HUGE]


def write_sources(plans: Sequence[Plan], folder: Path) -> Path:
    """Each network in a folder of its own, and a program that includes them all."""
    lines = ['#include "emulated_network.hpp"']
    for plan in plans:
        name = plan.spec.name
        files = project_files(plan, "0" * 12, "0" * 12)
        (folder / name).mkdir(exist_ok=True)
        lines.append(f"namespace {name} {{ const cnngen::Model& model(); }}")
        for path in sorted(files):
            file = Path(path)
            if file.parent.name == "src" and file.suffix in (".cu", ".cuh"):
                (folder / name / file.name).write_text(files[path])
                lines += [f'#include "{name}/{file.name}"'] if file.suffix == ".cu" else []
    lines += ["int main(int, char** arguments) {", '    std::FILE* in = std::fopen(arguments[1], "rb");',
              '    std::FILE* out = std::fopen(arguments[2], "wb");']  # fmt: skip
    for plan in plans:
        lines += [f"    emulated::run({plan.spec.name}::model(), {index}, in, out);"
                  for index in range(len(small(plan)))]  # fmt: skip
    lines += ["    return std::fclose(out);", "}", ""]
    program = folder / "networks.cpp"
    program.write_text("\n".join(lines))
    return program


def compiled(program: Path) -> Path:
    # As in test_kernels.
    flags = [
        "-std=c++20",
        "-O0",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unknown-pragmas",
        "-fno-strict-aliasing",
    ]
    flags += ["-D__CUDA_ARCH_LIST__=900", f"-I{HERE}", f"-I{INCLUDE}", f"-I{cuda_root() / 'include'}"]
    binary = program.with_suffix("")
    run("g++", *flags, *precompiled(HERE / "emulated_network.hpp", *flags), program, "-o", binary)
    return binary


def check_networks(networks: Sequence[Network], folder: Path, plans: Sequence[Plan] | None = None) -> None:
    """Runs each network at each batch size that memory has room for."""
    plans = plans or [make_plan(network.spec, network.weights) for network in networks]
    binary = compiled(write_sources(plans, folder))
    runs = [(batch, network.inputs(batch.graph), plan)
            for network, plan in zip(networks, plans, strict=True) for batch in small(plan)]  # fmt: skip
    (folder / "jobs").write_bytes(b"".join(job(plan, batch, inputs) for batch, inputs, plan in runs))
    run(binary, folder / "jobs", folder / "results")
    parts = iter(split((folder / "results").read_bytes()))
    for batch, inputs, _ in runs:
        results = {}
        for node in batch.steps:
            assert next(parts).decode() == " + ".join(layer_names(batch.graph, node))
            results[node.name] = next(parts)
        check_steps(batch, inputs, results)
    assert not list(parts)
