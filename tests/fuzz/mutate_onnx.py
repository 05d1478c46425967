"""Mutated ONNX models through the importer: each gives a spec that resolves, or a clear refusal.

python tests/fuzz/mutate_onnx.py SEED COUNT [FOLDER]

Prints what came of them as JSON: counts, the slowest, the memory used, and what is a fault: another exception, no
text, or more than 10 seconds. FOLDER keeps the models of the faults.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.backend.test.loader import load_model_tests

from cnngen.spec import CnngenError, ImportModelError, check_weights, resolve
from cnngen.spec.onnx import import_onnx
from cnngen.spec.onnx.rules import RULES

SECONDS = 10
_SIZES = (-(2**63), -(2**31), -5, -1, 0, 1, 2, 3, 7, 64, 2**20, 2**31, 2**40, 2**62)
_REALS = (-1e30, -1.0, 0.0, 0.5, 1.0, 3.0, 1e9, 1e30, float("inf"), float("nan"))
Mutation = Callable[[onnx.ModelProto, random.Random], None]


def seeds(rng: random.Random) -> list[onnx.ModelProto]:
    """Sound models: a small network, and ONNX's cases of single operators, their later inputs as initializers."""
    found = [network()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = load_model_tests(kind="node")
    for case in cases:
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        small = model.ByteSize() < 20_000 and all(node.op_type in RULES for node in model.graph.node)
        arrays = case.data_sets[0][0] if case.data_sets else ()
        if not small or not all(isinstance(array, np.ndarray) and array.size < 4096 for array in arrays):
            continue
        for value, array in list(zip(model.graph.input, arrays, strict=False))[1:]:
            if rng.random() < 0.8:
                model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), value.name))
        found.append(model)
    return found


def network() -> onnx.ModelProto:
    """A small network of many operators."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(size=(4, 3, 3, 3)), "b": rng.normal(size=4), "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "flat": np.array([0, -1]), "m": rng.normal(size=(512, 5)), "scales": np.array([1, 1, 2, 2], np.float32),
        "axes": np.array([2, 3]), "slope": np.ones((4, 1, 1)), "ones": np.ones(4), "starts": np.array([0, 1]),
        "ends": np.array([16, 2**31]), "true": np.array(True), "repeats": np.array([1, 1, 2, 1]),
        "wide": np.array([1, 8, 1, 1]), "u": rng.normal(size=(8, 4, 2, 2)), "where": np.array([3, 0, 2]),
    }  # fmt: skip
    branch = helper.make_graph(
        [helper.make_node("Relu", ["p"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", 1, None)],
    )
    nodes = [
        helper.make_node("Slice", ["x", "starts", "ends", "axes"], ["x2"]),
        helper.make_node("Pad", ["x", "pads"], ["a"]),
        helper.make_node("Conv", ["a", "w", "b"], ["c"], name="/c/Conv", kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["c", "ones", "ones", "ones", "ones"], ["d"]),
        helper.make_node("Sigmoid", ["d"], ["e"]),
        helper.make_node("Mul", ["d", "e"], ["f"]),
        helper.make_node("MaxPool", ["f"], ["g", "places"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        helper.make_node("MaxUnpool", ["g", "places"], ["g2"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["g", "", "scales"], ["h"], mode="linear"),
        helper.make_node("PRelu", ["h", "slope"], ["i"]),
        helper.make_node("Concat", ["i", "g2"], ["j"], axis=1),
        helper.make_node("ConvTranspose", ["j", "u"], ["k"], strides=[2, 2], output_padding=[1, 1]),
        helper.make_node("Shape", ["j"], ["s"]),
        helper.make_node("Gather", ["s", "where"], ["s2"]),
        helper.make_node("ConstantOfShape", ["s"], ["zeros"]),
        helper.make_node("Add", ["j", "zeros"], ["l"]),
        helper.make_node("Split", ["l"], ["p", "q"], axis=1, num_outputs=2),
        helper.make_node("If", ["true"], ["r"], then_branch=branch, else_branch=branch),
        helper.make_node("ReduceMean", ["r", "axes"], ["t"], keepdims=0),
        helper.make_node("Unsqueeze", ["t", "axes"], ["t2"]),
        helper.make_node("Expand", ["t2", "wide"], ["t3"]),
        helper.make_node("Tile", ["t2", "repeats"], ["t4"]),
        helper.make_node("Reshape", ["l", "flat"], ["v"]),
        helper.make_node("MatMul", ["v", "m"], ["y"]),
        helper.make_node("Softmax", ["y"], ["y2"], axis=-1),
        helper.make_node("ArgMax", ["y2"], ["y3"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", 1, [1, 3, 16, 16])],
        [helper.make_tensor_value_info(name, 1, None) for name in ("y2", "k", "t4", "x2")],
        [
            numpy_helper.from_array(array.astype(np.float32) if array.dtype == np.float64 else array, name)
            for name, array in constants.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def _names(model: onnx.ModelProto) -> list[str]:
    graph = model.graph
    made = [name for node in graph.node for name in node.output]
    return [*made, *(value.name for value in (*graph.input, *graph.initializer)), "", "nowhere"]


def rewire(model: onnx.ModelProto, rng: random.Random) -> None:
    """A node reads something else, less or more."""
    node = rng.choice(model.graph.node)
    kind = rng.randrange(4)
    if node.input and kind < 2:
        node.input[rng.randrange(len(node.input))] = rng.choice(_names(model))
    elif node.input and kind == 2:
        del node.input[rng.randrange(len(node.input))]
    else:
        node.input.append(rng.choice(_names(model)))


def rename(model: onnx.ModelProto, rng: random.Random) -> None:
    """A node is another operator."""
    rng.choice(model.graph.node).op_type = rng.choice(
        [*RULES, "Loop", "If", "LSTM", "Range", "NonZero", "Fancy"]
    )


def attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    """An attribute has another value, or is gone, or is new."""
    node = rng.choice(model.graph.node)
    names = ["axis", "axes", "pads", "strides", "mode", "kernel_shape", "group", "to", "keepdims", "perm", "scales",
             "dilations", "output_shape", "blocksize", "num_outputs", "auto_pad", "size", "split"]  # fmt: skip
    if not node.attribute or rng.random() < 0.2:
        value = rng.choice(
            [rng.choice(_SIZES), [rng.choice(_SIZES) for _ in range(rng.randrange(1, 6))], "x"]
        )
        node.attribute.append(helper.make_attribute(rng.choice(names), value))
        return
    chosen = rng.choice(node.attribute)
    if rng.random() < 0.15:
        node.attribute.remove(chosen)
    elif chosen.ints:
        chosen.ints[rng.randrange(len(chosen.ints))] = rng.choice(_SIZES)
        if rng.random() < 0.3:
            chosen.ints.append(rng.choice(_SIZES))
    elif chosen.type == onnx.AttributeProto.FLOAT:
        chosen.f = rng.choice(_REALS)
    elif chosen.type == onnx.AttributeProto.STRING:
        chosen.s = rng.choice([b"", b"SAME_UPPER", b"linear", b"cubic", b"reflect", b"\xff\xfe"])
    else:
        chosen.i = rng.choice(_SIZES)


def tensor(model: onnx.ModelProto, rng: random.Random) -> None:
    """An initializer has other sizes or elements."""
    if not model.graph.initializer:
        return
    chosen = rng.choice(model.graph.initializer)
    if chosen.dims and rng.random() < 0.4:
        chosen.dims[rng.randrange(len(chosen.dims))] = rng.choice(_SIZES)
        return
    kind = rng.choice([np.int64, np.float32, np.int32, np.bool_, np.float64])
    shape = rng.choice([(), (0,), (1,), (2,), (4,), (8,), (1, 3), (4, 1, 1), (3, 3, 3, 3)])
    with np.errstate(all="ignore"):
        values = [
            rng.choice(_SIZES if kind is not np.float32 else _REALS) for _ in range(int(np.prod(shape)))
        ]
        array = np.array(values, np.float64).reshape(shape).astype(kind)
    chosen.CopyFrom(numpy_helper.from_array(array, chosen.name))


def declared(model: onnx.ModelProto, rng: random.Random) -> None:
    """An input has another shape or type, or the opset is another."""
    kind = rng.choice(model.graph.input).type.tensor_type if model.graph.input else None
    choice = rng.randrange(3)
    if kind is not None and choice == 0 and kind.shape.dim:
        rng.choice(kind.shape.dim).dim_value = rng.choice(_SIZES)
    elif kind is not None and choice == 1:
        kind.elem_type = rng.choice([0, 1, 6, 7, 9, 10, 11, 16, 99])
    else:
        model.opset_import[0].version = rng.choice([0, 6, 7, 9, 10, 11, 13, 18, 21, 23, 99])


def shuffle(model: onnx.ModelProto, rng: random.Random) -> None:
    """Nodes stand in another order, twice or not at all."""
    nodes = list(model.graph.node)
    place, kind = rng.randrange(len(nodes)), rng.randrange(3)
    if kind == 0:
        nodes.insert(rng.randrange(len(nodes) + 1), nodes[place])
    elif kind == 1:
        nodes.insert(rng.randrange(len(nodes)), nodes.pop(place))
    elif len(nodes) > 1:
        nodes.pop(place)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


MUTATIONS: tuple[Mutation, ...] = (rewire, rename, attribute, attribute, tensor, tensor, declared, shuffle)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes changed, taken out and put in."""
    result = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        place, kind = rng.randrange(len(result)), rng.randrange(4)
        if kind < 2:
            result[place] = rng.randrange(256)
        elif kind == 2:
            del result[place : place + rng.randint(1, 20)]
        else:
            result[place:place] = rng.randbytes(rng.randint(1, 5))
    return bytes(result)


def mutated(models: list[onnx.ModelProto], rng: random.Random) -> bytes:
    """The bytes of a model that is damaged, or made of other parts."""
    model = onnx.ModelProto()
    model.CopyFrom(models[0] if rng.random() < 0.2 else rng.choice(models))
    if rng.random() < 0.3:
        return damaged(model.SerializeToString(), rng)
    for _ in range(rng.randint(1, 3)):
        with suppress(ValueError):  # protobuf refuses a number of the wrong size
            rng.choice(MUTATIONS)(model, rng)
    data: bytes = model.SerializeToString()
    return data


def outcome(file: Path) -> str:
    """ "imported" or "refused"; else the fault."""
    try:
        spec, weights = import_onnx(file)
        check_weights(resolve(spec), weights)
    except ImportModelError as error:
        return "refused" if str(error).strip() else "a refusal without a text"
    except CnngenError as error:
        return f"imported, but {type(error).__name__}: {error}"
    except BaseException as error:  # noqa: BLE001 (that is what is looked for)
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} at {Path(place.filename).name}:{place.lineno}"
    return "imported"


def peak_kib() -> int:
    """The most memory that this process has had, and not, as getrusage would say, the one that has started it."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(row.split()[1] for row in status if row.startswith("VmHWM")))


def main(seed: int, count: int, folder: Path | None) -> dict[str, Any]:
    """Runs `count` models that come of `seed`."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, interrupt)
    rng = random.Random(seed)  # noqa: S311 (not a secret)
    models = seeds(rng)
    before = peak_kib()
    counts: Counter[str] = Counter()
    faults: list[str] = []
    slowest = 0.0
    file = (folder or Path.cwd()) / "mutated.onnx"
    for number in range(count):
        file.write_bytes(mutated(models, rng))
        start = time.monotonic()
        signal.alarm(SECONDS)
        result = outcome(file)
        signal.alarm(0)
        slowest = max(slowest, time.monotonic() - start)
        if result in ("imported", "refused"):
            counts[result] += 1
        else:
            faults.append(f"{number}: {result}")
            if folder is not None:
                file.rename(folder / f"fault{number}.onnx")
    used = peak_kib()
    return {
        "counts": counts,
        "faults": faults,
        "slowest": slowest,
        "megabytes": used >> 10,
        "grown": (used - before) >> 10,
    }


if __name__ == "__main__":
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    given = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    sys.stdout.write(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), given), indent=1) + "\n")
