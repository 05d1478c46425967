"""Reads an ONNX file and makes its input shapes concrete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from cnngen.spec.errors import ImportModelError, Problem, listing, nearest
from cnngen.spec.manifest import Array
from cnngen.spec.types import Shape

OLDEST_OPSET = 9
_FLOATS: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.BFLOAT16: "bfloat16",
}


@dataclass(frozen=True)
class Model:
    """An ONNX model ready to be walked.

    inputs:    shape and element type of each, concrete
    constants: the initializers
    opset:     of ONNX's own domain
    """

    file: Path
    nodes: tuple[onnx.NodeProto, ...]
    inputs: Mapping[str, tuple[Shape, str]]
    constants: Mapping[str, Array]
    outputs: tuple[str, ...]
    opset: int


def load_model(file: Path, shapes: Mapping[str, Sequence[int]]) -> Model:
    """Reads a file with its external data; `shapes` gives dynamic inputs their size."""
    model = _read(file)
    newest = onnx.defs.onnx_opset_version()  # where every node is of another domain, and will be refused
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), newest)
    if not model.graph.node or not model.opset_import:
        raise ImportModelError(Problem("not an ONNX model: it holds no nodes", where=str(file)))
    if opset < OLDEST_OPSET:
        text = (
            f"its opset is {opset}, {OLDEST_OPSET} and newer are read: convert it with onnx.version_converter"
        )
        raise ImportModelError(Problem(text, where=str(file)))
    if not _is_text(model.graph):
        raise ImportModelError(Problem("the file is damaged: a name in it is no text", where=str(file)))
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    try:
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise ImportModelError(Problem(f"a weight is damaged: {error}", where=str(file))) from None
    inputs = [value for value in model.graph.input if value.name not in constants]
    return Model(
        file,
        tuple(_needed(model.graph)),
        _concrete(file, inputs, shapes),
        constants,
        tuple(value.name for value in model.graph.output),
        opset,
    )


def _read(file: Path) -> onnx.ModelProto:
    try:
        return onnx.load(file)
    except DecodeError:
        raise ImportModelError(Problem("not an ONNX file, or a truncated one", where=str(file))) from None
    except FileNotFoundError as error:
        what = "external data is missing" if file.exists() else "cannot read the model"
        raise ImportModelError(Problem(f"{what}: {error}", where=str(file))) from None
    except OSError as error:
        raise ImportModelError(Problem(f"cannot read the model: {error}", where=str(file))) from None
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise ImportModelError(
            Problem(f"cannot read the model's external data: {error}", where=str(file))
        ) from None


def _is_text(graph: onnx.GraphProto) -> bool:
    """Whether all names are texts; protobuf leaves bytes where they are no UTF-8."""
    nodes = [
        name
        for node in graph.node
        for name in (node.op_type, node.domain, node.name, *node.input, *node.output)
    ]
    values = [value.name for value in (*graph.input, *graph.output, *graph.initializer)]
    return all(isinstance(name, str) for name in nodes + values)


def _needed(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on, in order."""
    wanted = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _concrete(
    file: Path, inputs: Sequence[onnx.ValueInfoProto], shapes: Mapping[str, Sequence[int]]
) -> dict[str, tuple[Shape, str]]:
    names = [value.name for value in inputs]
    problems = [
        f"there is no input {name!r}{nearest(name, names)}; the inputs are {listing(names)}"
        for name in shapes
        if name not in names
    ]
    result: dict[str, tuple[Shape, str]] = {}
    for value in inputs:
        kind = value.type.tensor_type
        dtype = _FLOATS.get(kind.elem_type)
        if not value.type.HasField("tensor_type") or dtype is None:
            what = onnx.TensorProto.DataType.Name(kind.elem_type).lower() if kind.elem_type else "no tensor"
            problems.append(f"input {value.name!r} is {what}; allowed: {', '.join(_FLOATS.values())}")
            continue
        try:
            result[value.name] = (_shape(value, shapes.get(value.name)), dtype)
        except ValueError as error:
            problems.append(str(error))
    if not inputs:
        problems.append("the model has no inputs")
    if problems:
        raise ImportModelError([Problem(text, where=str(file)) for text in problems])
    return result


def _shape(value: onnx.ValueInfoProto, given: Sequence[int] | None) -> Shape:
    kind = value.type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in kind.shape.dim]
    told = f"[{', '.join(map(str, dims))}]" if kind.HasField("shape") else "of any rank"
    if given is not None:
        fits = not kind.HasField("shape") or (
            len(given) == len(dims)
            and all(isinstance(dim, str) or dim == size for dim, size in zip(dims, given, strict=True))
        )
        if not fits or any(size < 1 for size in given):
            raise ValueError(f"input {value.name!r} is {told}, the given shape {list(given)} does not fit")
        return tuple(given)
    if dims and isinstance(dims[0], str):
        dims[0] = 1  # a dynamic batch
    if not kind.HasField("shape") or any(isinstance(dim, str) for dim in dims):
        example = "x".join(str(dim) if isinstance(dim, int) else "224" for dim in dims) or "1x3x224x224"
        raise ValueError(
            f"input {value.name!r} is {told}: say the size of its dynamic axes, "
            f"shapes={{{value.name!r}: [{example.replace('x', ', ')}]}} or --shape {value.name}={example}"
        )
    if len(dims) < 2 or 0 in dims:
        raise ValueError(f"input {value.name!r} is {told}; at least [batch, size] is needed, none of them 0")
    return tuple(int(dim) for dim in dims)


def element_name(code: int) -> str:
    """ONNX's element type by numpy's name."""
    return _FLOATS.get(code) or str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(code)).name)
