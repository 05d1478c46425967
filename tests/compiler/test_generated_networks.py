"""Generated networks, compiled as plain C++ and run on the CPU: each step against the interpreter's value.

Kernels run in the emulation, convolutions and matrix products by their definition, all at the planned places in one
arena: a wrong index, bound, offset, layout, argument or epilogue in the generated text is found without a GPU.
"""

from __future__ import annotations

import itertools
import random
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from cnngen.codegen.choices import Choices
from cnngen.codegen.emit.project import project_files
from cnngen.codegen.emit.titles import layer_names
from cnngen.codegen.graph import ITEM_BYTES, Array, Node, Slice, SqueezeExcite, Value
from cnngen.codegen.interpret import run_node, run_op
from cnngen.codegen.plan import BatchPlan, Plan, make_plan
from cnngen.codegen.storage import NUMPY_TYPES, from_memory, to_memory
from cnngen.spec.types import DType, ElementType

from ..unit.codegen.networks import BATCHES, Network, network, random_network
from ..unit.codegen.tuned import convolutional_network, tuned_plan
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
    if node.form or isinstance(node.op, SqueezeExcite):
        largest = max(largest, float(run_op(node, [np.abs(array) for array in inputs]).max()))
    return max(1.0, largest)


def check_steps(batch: BatchPlan, inputs: dict[str, Array], results: Mapping[str, bytes]) -> None:
    """Each step's result against what the interpreter makes of the very inputs that the step had."""
    graph = batch.graph
    values = dict(inputs)
    for name, constant in graph.constants.items():
        values[name] = stored(to_memory(constant.array, constant.value).tobytes(), constant.value)
    for node in graph.nodes:
        operands = [values[name] for name in node.inputs]
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
    # As in test_kernels; -O0 compiles fastest, and what is compared does not depend on it.
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
    run("g++", *flags, program, "-o", binary)
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


def seeded(seed: int, storage: DType) -> Network:
    return random_network(random.Random(seed), storage, name=f"net{seed}")  # noqa: S311 (a seed that repeats)


def test_random_networks(tmp_path: Path) -> None:
    storages: tuple[DType, ...] = ("float32", "float16", "bfloat16", "float16")
    check_networks([seeded(seed, storages[seed % 4]) for seed in range(50)], tmp_path)


def test_random_engines_and_tiles(tmp_path: Path) -> None:
    """Each step by one of the kernels and tiles that a lock may name, each rewrite by one of its forms."""
    storages: tuple[DType, ...] = ("float16", "bfloat16")
    networks = [convolutional_network(seed, storages[seed % 2]) for seed in range(24)]
    check_networks(networks, tmp_path, [tuned_plan(drawn, seed) for seed, drawn in enumerate(networks)])
    text = "".join(path.read_text() for path in tmp_path.glob("*/network.cu"))
    assert text.count("cnngen::GemmShape") > 20
    assert ".cluster" in text
    assert ".y_pixel" in text  # of a convolution into a part of a concatenation
    kernels = "".join(path.read_text() for path in tmp_path.glob("*/kernels*.cu"))
    assert "const int at = " in kernels  # likewise of a pointwise step
    assert ".interleaves = true" in kernels


def test_parts_of_a_wider_value_are_not_one_run(tmp_path: Path) -> None:
    """Steps that would be turned, or take all axes as one, write into a concatenation and read from one."""
    layers = [
        {"name": "p", "op": "max_pool2d", "kernel": 1},
        {"name": "mixed", "op": "channel_shuffle", "groups": 32},
        {"name": "gentle", "op": "silu", "input": "p"},
        {"name": "both", "op": "concat", "inputs": ["mixed", "gentle"]},
        {"name": "wide", "op": "max_pool2d", "kernel": 1},
        {"name": "harder", "op": "abs", "input": "gentle"},
        {"name": "second", "op": "concat", "inputs": ["harder", "p"]},
        {"name": "last", "op": "max_pool2d", "kernel": 1},
    ]
    parts = network(
        *layers,
        shape=(2, 1024, 3, 3),
        outputs=[{"layer": name} for name in ("wide", "last", "gentle", "harder")],
        precision="float16",
        name="parts",
    )
    plan = tuned_plan(parts, 0, forms={"place_concats": 1, "fuse_epilogues": 1})
    check_networks([parts], tmp_path, [plan])
    text = (tmp_path / "parts" / "kernels.cu").read_text()
    kernels = dict(re.findall(r"^__global__ .*? (\w+)\(int batch.*?{(.*?)^}", text, re.MULTILINE | re.DOTALL))
    assert {name for name, kernel in kernels.items() if "const int at = i / 128 * 2048" in kernel} == {
        "gentle",
        "both_part",
        "harder",
    }
    assert ") * 2048 + c" in kernels["harder"]
    turned = {name for name, kernel in kernels.items() if "cnngen::transpose<" in kernel}
    assert turned == {"x", *(f"{name}_output" for name in ("wide", "last", "gentle", "harder"))}
    assert ".row_pitch = 2048, .column_pitch = 9, .readable = 9" in kernels["gentle_output"]


def squeezed(seed: int, storage: DType) -> Network:
    """Two blocks of squeeze and excitation, by convolutions and by matrix products."""
    rng = random.Random(seed)  # noqa: S311
    c, h, w = rng.choice((8, 24, 32, 64, 96, 160, 20, 7)), rng.randint(1, 14), rng.randint(1, 14)
    activations = ("relu", "silu", "hard_swish", None)
    gates = ("sigmoid", "hard_sigmoid", None)
    convolution = {"op": "conv2d", "kernel": 1, "bias": rng.random() < 0.8}
    layers: list[dict[str, object]] = [
        {"name": "mean", "op": "global_avg_pool", "input": "x"},
        {
            "name": "a",
            **convolution,
            "out_channels": rng.randint(1, 12),
            "activation": rng.choice(activations),
        },
        {"name": "b", **convolution, "out_channels": c, "activation": rng.choice(gates)},
        {"name": "scaled", "op": "mul", "inputs": ["x", "b"]},
        {"name": "mean2", "op": "global_avg_pool", "keepdims": False},
        {
            "name": "c",
            "op": "linear",
            "out_features": rng.randint(1, 40),
            "activation": rng.choice(activations),
        },
        {"name": "d", "op": "linear", "out_features": c, "activation": rng.choice(gates)},
        {"name": "gate", "op": "reshape", "shape": [0, c, 1, 1]},
        {"name": "y", "op": "mul", "inputs": ["scaled", "gate"]},
        {"name": "sum", "op": "add", "inputs": ["y", "x"]},
    ]
    batches = rng.choice(BATCHES)
    return network(
        *layers, shape=(batches[0], c, h, w), precision=storage, batch_sizes=batches, name=f"squeezed{seed}"
    )


def test_squeeze_and_excitation(tmp_path: Path) -> None:
    """Gates alone and with the map that they scale, by the first tile and by others that a lock may name."""
    storages: tuple[DType, ...] = ("float16", "float32", "bfloat16")
    networks = [squeezed(seed, storages[seed % 3]) for seed in range(20)]
    plans = []
    for seed, drawn in enumerate(networks):
        forms = {"fuse_squeeze_excite": 1 + seed % 2}
        first = make_plan(drawn.spec, drawn.weights, choices=lambda _profile, _batch: Choices(every=forms))  # noqa: B023
        plans.append(tuned_plan(drawn, seed, forms) if seed % 5 else first)
    check_networks(networks, tmp_path, plans)
    text = "".join(path.read_text() for path in tmp_path.glob("*/kernels.cu"))
    for part in (
        "squeeze_excite<",
        "squeeze_excite_scale<",
        ".threads = 512};",
        ".cluster = 8",
        ".slices = 2",
    ):
        assert part in text


def pyramid(seed: int, storage: DType) -> Network:
    """Pools of pools behind what they are of, in every width of vectors."""
    rng = random.Random(seed)  # noqa: S311
    c, h, w = rng.choice((1, 3, 6, 12, 24, 64)), rng.randint(1, 14), rng.randint(1, 14)
    kernel, count = rng.choice((3, 5)), rng.randint(2, 3)
    pool = {"op": "max_pool2d", "kernel": kernel, "stride": 1, "padding": kernel // 2}
    names = ["x", *(f"p{level}" for level in range(1, count + 1))]
    layers = [{"name": name, **pool, "input": x} for x, name in itertools.pairwise(names)]
    return network(
        *layers,
        {"name": "all", "op": "concat", "inputs": names},
        {"name": "y", "op": "relu"},
        shape=(2, c, h, w),
        precision=storage,
        batch_sizes=(1, 2),
        name=f"pyramid{seed}",
    )


def test_pyramids_of_pools(tmp_path: Path) -> None:
    storages: tuple[DType, ...] = ("float16", "float32", "bfloat16")
    networks = [pyramid(seed, storages[seed % 3]) for seed in range(9)]
    plans = [tuned_plan(drawn, seed, {"fuse_max_pools": 1}) for seed, drawn in enumerate(networks)]
    check_networks(networks, tmp_path, plans)
    text = "".join(path.read_text() for path in tmp_path.glob("*/kernels.cu"))
    assert text.count("cnngen::max_pools<") >= len(networks)


def parted(seed: int, storage: DType) -> Network:
    """What reads parts of a convolution's channels, adds or multiplies by them, and is part of a concatenation."""
    rng = random.Random(seed)  # noqa: S311
    c, h, w = 8 * rng.randint(1, 3), rng.randint(3, 9), rng.randint(3, 9)
    same = {"op": "conv2d", "kernel": rng.choice((1, 3)), "padding": "same"}
    function = rng.choice(("relu", "identity"))
    layers: list[dict[str, object]] = [{"name": "whole", **same, "out_channels": 3 * c, "input": "x"}]
    for number in range(3):
        ends = {"starts": [number * c], "ends": [number * c + c]}
        layers.append({"name": f"s{number}", "op": "slice", "axes": [1], **ends, "input": "whole"})
        layers.append({"name": f"f{number}", "op": function, "input": f"s{number}"})
    layers += [
        {"name": "p", **same, "out_channels": c, "input": "f0"},
        {"name": "q", "op": rng.choice(("add", "mul")), "inputs": ["p", "f1"]},
        {"name": "r", "op": "relu"},
        {"name": "t", "op": "add", "inputs": ["r", "f2"]},
        {"name": "m", "op": "max_pool2d", "kernel": 3, "stride": 1, "padding": 1, "input": "f1"},
        {"name": "d", **same, "out_channels": c, "groups": c, "input": "f2"},
        {"name": "all", "op": "concat", "inputs": ["t", "m", "d"]},
        {"name": "y", **same, "out_channels": 4},
    ]
    batches = rng.choice(BATCHES)
    shape = (batches[0], 16, h, w)
    return network(*layers, shape=shape, precision=storage, batch_sizes=batches, name=f"parted{seed}")


def test_parts_of_channels_are_read_where_they_lie(tmp_path: Path) -> None:
    storages: tuple[DType, ...] = ("float16", "float32", "bfloat16")
    networks = [parted(seed, storages[seed % 3]) for seed in range(9)]
    forms = {"place_splits": 1, "place_concats": 1, "merge_siblings": 0}
    plans = [tuned_plan(drawn, seed, forms) for seed, drawn in enumerate(networks)]
    check_networks(networks, tmp_path, plans)
    nodes = [node for plan in plans for batch in plan.batches for node in batch.graph.nodes]
    assert sum(isinstance(node.op, Slice) for node in nodes) > len(networks)
    kernels = "".join(path.read_text() for path in tmp_path.glob("*/kernels*.cu"))
    assert ".x_pixel" in kernels  # of pools and depthwise convolutions
    assert ".y_pixel" in kernels


def test_indices_of_64_bits(tmp_path: Path) -> None:
    """The text for a huge batch, run on a small one."""
    networks = []
    for seed in range(10):
        drawn = seeded(seed, "float16")
        spec = drawn.spec.model_copy(update={"batch_sizes": (drawn.spec.batch_sizes[0], HUGE)})
        networks.append(Network(spec, drawn.weights))
    check_networks(networks, tmp_path)
    assert "std::int64_t" in (tmp_path / "net0" / "kernels.cu").read_text()


def wide(op: str, shape: Sequence[int], storage: DType, number: int, **fields: object) -> Network:
    """One op between two pointwise ones, on a tensor that many threads share."""
    layers = [{"name": "a", "op": "relu"}, {"name": "b", "op": op, **fields}, {"name": "c", "op": "silu"}]
    return network(*layers, shape=shape, precision=storage, name=f"wide{number}")


def test_many_threads(tmp_path: Path) -> None:
    """Sizes at which a thread takes several outputs, and several threads or warps share one."""
    depthwise = {"out_channels": 15, "groups": 15, "kernel": 3, "padding": 1}
    cases: list[tuple[str, tuple[int, ...], dict[str, object]]] = [
        ("conv2d", (2, 15, 71, 70), depthwise),
        ("conv2d", (3, 15, 131, 70), {**depthwise, "stride": 2, "kernel": 5, "padding": [2, 1, 1, 2]}),
        ("conv2d", (2, 15, 69, 75), {**depthwise, "dilation": 2, "activation": "mish"}),
        ("conv2d", (2, 16, 45, 47), {**depthwise, "groups": 8, "out_channels": 24}),
        ("conv2d", (5, 16, 30, 31), {**depthwise, "groups": 4, "out_channels": 24, "stride": [1, 2]}),
        ("max_pool2d", (4, 13, 81, 79), {"kernel": 3, "stride": 1, "padding": 1}),
        (
            "avg_pool2d",
            (4, 15, 65, 67),
            {"kernel": 2, "stride": 1, "padding": "same", "count_include_pad": True},
        ),
        ("avg_pool2d", (8, 15, 81, 83), {"kernel": 2, "ceil_mode": True}),
        ("global_avg_pool", (3, 72, 20, 20), {}),
        ("global_avg_pool", (8, 1280, 3, 3), {}),
        ("softmax", (3, 21, 9, 9), {"axis": 1}),
        ("softmax", (2, 8, 3, 40), {"axis": 2}),
        ("softmax", (5, 100), {}),
        ("softmax", (3, 1001), {}),
        ("softmax", (2, 3000), {}),
        ("log_softmax", (3, 1001), {}),
        ("log_softmax", (2, 8, 3, 40), {"axis": 2}),
        ("reduce_max", (3, 72, 20, 20), {"axes": [2, 3]}),
        ("reduce_sum_square", (2, 24, 30, 31), {"axes": [1, 3]}),
        ("reduce_mean", (2, 3, 5000), {"axes": [2], "keepdims": False}),
        ("reduce_min", (2, 40, 33), {"axes": [1]}),
        ("instance_norm", (2, 40, 30, 31), {"affine": True}),
        ("group_norm", (2, 48, 17, 16), {"groups": 4}),
        ("layer_norm", (2, 50, 100), {}),
        ("layer_norm", (2, 30, 11, 12), {"axis": 1}),
        ("lrn", (2, 24, 9, 10), {"size": 5}),
        ("argmax", (3, 21, 9, 9), {"axis": 1}),
        ("argmin", (2, 5000), {"axis": 1, "last": True}),
        ("argmax", (2, 24, 11, 40), {"axis": 2}),
        ("max_pool2d_indices", (2, 16, 41, 43), {"kernel": 3, "stride": 2, "padding": 1}),
        ("lp_pool2d", (2, 16, 41, 43), {"kernel": 3, "padding": 1}),
        ("conv_transpose2d", (2, 16, 20, 21), {"out_channels": 8, "kernel": 4, "stride": 2, "padding": 1}),
        ("conv1d", (2, 16, 300), {"out_channels": 16, "kernel": 3, "groups": 16}),
        ("adaptive_avg_pool2d", (2, 16, 20, 33), {"output_size": [5, 7]}),
        ("upsample", (1, 16, 20, 24), {"scale": 2, "mode": "bilinear"}),
        ("transpose", (1, 24, 40, 36), {"axes": [0, 2, 3, 1]}),
        ("transpose", (2, 24, 13, 30), {"axes": [0, 3, 2, 1]}),
        ("flatten", (2, 24, 9, 10), {}),
        ("channel_shuffle", (2, 1024, 3, 3), {"groups": 16}),
        ("space_to_depth", (2, 40, 12, 16), {"block": 4, "mode": "crd"}),
        ("pad", (2, 3, 20, 24), {"pads": [[0, 0], [0, 1], [0, 0], [0, 0]]}),
    ]
    storages: tuple[DType, ...] = ("float16", "float32", "bfloat16")
    check_networks(
        [wide(op, shape, storages[i % 3], i, **fields) for i, (op, shape, fields) in enumerate(cases)],
        tmp_path,
    )
    text = "".join(path.read_text() for path in tmp_path.glob("*/kernels.cu"))
    assert text.count("cnngen::transpose<") > 20
    for tile in (".tw = 4, .th = 2", ".tw = 4, .th = 1", ".groups = 8", ".lanes = 256"):
        assert tile in text


def test_whole_numbers_and_bools(tmp_path: Path) -> None:
    """Ports of every element type; indices between a max pool and what puts its maxima back."""
    types: dict[str, ElementType] = {"i": "int32", "l": "int64", "u": "uint8", "b": "bool"}
    layers = [
        *({"name": f"f{name}", "op": "cast", "to": "float32", "input": name} for name in types),
        {"name": "sum", "op": "add", "inputs": [f"f{name}" for name in types]},
        {"name": "size", "op": "abs"},
        {"name": "half", "op": "mul", "value": 0.5},
        {"name": "i8", "op": "cast", "to": "uint8"},
        {"name": "some", "op": "cast", "to": "bool", "input": "sum"},
        {"name": "best", "op": "argmax", "axis": 1, "input": "half"},
        {"name": "largest", "op": "max_pool2d", "kernel": 2, "input": "half"},
        {"name": "places", "op": "max_pool2d_indices", "kernel": 2, "input": "half"},
        {"name": "back", "op": "max_unpool2d", "kernel": 2, "inputs": ["largest", "places"]},
    ]
    outputs = [("i8", "uint8"), ("some", "bool"), ("best", "int64"), ("places", "int32"), ("back", "float16")]
    whole = network(
        *layers,
        inputs={name: {"shape": [2, 16, 6, 8], "dtype": dtype} for name, dtype in types.items()},
        outputs=[{"layer": layer, "dtype": dtype} for layer, dtype in outputs],
        precision="float16",
        name="whole",
    )
    check_networks([whole], tmp_path)
