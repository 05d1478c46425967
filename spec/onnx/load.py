"""Reads an ONNX model and makes its input shapes concrete."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from cnngen.spec.errors import ImportModelError, Problem, listing, nearest
from cnngen.spec.importing.builder import LARGEST
from cnngen.spec.manifest import Array
from cnngen.spec.onnx.functions import inline_functions
from cnngen.spec.types import Shape

OLDEST_OPSET = 6
ONNX_DOMAINS = ("", "ai.onnx")
ELEMENTS: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.BFLOAT16: "bfloat16",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.BOOL: "bool",
}
"""The element types of tensors, by ONNX's code."""


@dataclass(frozen=True)
class Input:
    """An input of the network; `scalar`: the model gives it no axes."""

    shape: Shape
    dtype: str
    scalar: bool = False


@dataclass(frozen=True)
class Model:
    """An ONNX model ready to be walked.

    where:     the file, where there is one
    constants: initializers, and inputs that were given a value
    opset:     of ONNX's own domain
    """

    where: str | None
    nodes: tuple[onnx.NodeProto, ...]
    inputs: Mapping[str, Input]
    constants: Mapping[str, Array]
    outputs: tuple[str, ...]
    opset: int

    def read(self) -> frozenset[str]:
        """Every name that a node, or the user, reads."""
        return frozenset(self.outputs).union(*(names_read(node) for node in self.nodes))


def load_model(
    source: Path | onnx.ModelProto, shapes: Mapping[str, Sequence[int]], constants: Mapping[str, Array]
) -> Model:
    """Reads a model with its external data.

    Args:
        source: the file, or the model itself.
        shapes: the sizes of dynamic inputs.
        constants: inputs that are to be constants, and their values.
    """
    where = str(source) if isinstance(source, Path) else None
    model = _read(source) if isinstance(source, Path) else source
    newest = onnx.defs.onnx_opset_version()  # where every node is of another domain, and will be refused
    opset = next((entry.version for entry in model.opset_import if entry.domain in ONNX_DOMAINS), newest)
    if not model.graph.node or not model.opset_import:
        raise ImportModelError(Problem("not an ONNX model: it holds no nodes", where=where))
    if opset < OLDEST_OPSET:
        text = (
            f"its opset is {opset}, {OLDEST_OPSET} and newer are read: convert it with onnx.version_converter"
        )
        raise ImportModelError(Problem(text, where=where))
    if not _is_text(model.graph):
        raise ImportModelError(Problem("the file is damaged: a name in it is no text", where=where))
    if model.functions:
        model = inline_functions(model, where)
    try:
        known = {tensor.name: tensor_array(tensor) for tensor in model.graph.initializer}
    except _DAMAGE as error:
        raise ImportModelError(Problem(f"a weight is damaged: {error}", where=where)) from None
    inputs = [value for value in model.graph.input if value.name not in known]
    names = [value.name for value in inputs]
    unknown = [name for name in (*shapes, *constants) if name not in names]
    known |= {name: np.asarray(array) for name, array in constants.items()}
    return Model(
        where,
        tuple(_needed(model.graph)),
        _concrete(where, [value for value in inputs if value.name not in known], shapes, names, unknown),
        known,
        tuple(value.name for value in model.graph.output),
        opset,
    )


_DAMAGE = (ValueError, TypeError, KeyError, RuntimeError, AttributeError)


def tensor_array(tensor: onnx.TensorProto) -> Array:
    """A tensor of the model as an array; ValueError where its elements do not fill its shape."""
    if math.prod(max(int(size), 0) for size in tensor.dims) > LARGEST:
        raise ValueError(f"{tensor.name!r} of {list(tensor.dims)} is too large")
    return np.asarray(numpy_helper.to_array(tensor))


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


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node holds: branches, bodies."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def names_read(node: onnx.NodeProto) -> set[str]:
    """What a node reads, its subgraphs included."""
    names = {name for name in node.input if name}
    for graph in subgraphs(node):
        names.update(output.name for output in graph.output)
        for inner in graph.node:
            names |= names_read(inner)
    return names


def _is_text(graph: onnx.GraphProto) -> bool:
    """Whether all names are texts; protobuf leaves bytes where they are no UTF-8."""
    nodes = [
        name
        for node in graph.node
        for name in (node.op_type, node.domain, node.name, *node.input, *node.output)
    ]
    values = [value.name for value in (*graph.input, *graph.output, *graph.initializer)]
    inner = (graph for node in graph.node for graph in subgraphs(node))
    return all(isinstance(name, str) for name in nodes + values) and all(map(_is_text, inner))


def _needed(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on, in order."""
    wanted = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted |= names_read(node)
            kept.append(node)
    return kept[::-1]


def _concrete(
    where: str | None,
    inputs: Sequence[onnx.ValueInfoProto],
    shapes: Mapping[str, Sequence[int]],
    names: Sequence[str],
    unknown: Sequence[str],
) -> dict[str, Input]:
    problems = [
        f"there is no input {name!r}{nearest(name, names)}; the inputs are {listing(names)}"
        for name in unknown
    ]
    result: dict[str, Input] = {}
    empty: set[str] = set()
    for value in inputs:
        kind = value.type.tensor_type
        dtype = ELEMENTS.get(kind.elem_type)
        if not value.type.HasField("tensor_type") or dtype is None:
            known = kind.elem_type in onnx.TensorProto.DataType.values()
            what = onnx.TensorProto.DataType.Name(kind.elem_type).lower() if kind.elem_type and known else ""
            problems.append(
                f"input {value.name!r} is {what or 'no tensor'}; allowed: {', '.join(ELEMENTS.values())}"
            )
            continue
        try:
            shape = _shape(value, shapes.get(value.name))
            result[value.name] = Input(shape or (1,), dtype, not shape)
        except ValueError as error:
            problems.append(str(error))
            empty |= {value.name} if any(_is_zero(dim) for dim in kind.shape.dim) else set()
    if not inputs:
        problems.append("the model has no inputs")
    if problems:
        raise ImportModelError([Problem(text, where=where) for text in problems], empty)
    return result


def _is_zero(dim: onnx.TensorShapeProto.Dimension) -> bool:
    return bool(dim.HasField("dim_value") and dim.dim_value == 0)


def _shape(value: onnx.ValueInfoProto, given: Sequence[int] | None) -> Shape:
    kind = value.type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in kind.shape.dim]
    told = f"[{', '.join(map(str, dims))}]" if kind.HasField("shape") else "of any rank"
    if given is not None:
        fits = not kind.HasField("shape") or (
            len(given) == len(dims)
            and all(isinstance(dim, str) or dim == size for dim, size in zip(dims, given, strict=True))
        )
        if not fits or any(size < 1 for size in given) or math.prod(given) > LARGEST:
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
    sizes = tuple(int(dim) for dim in dims)
    if min(sizes, default=1) < 1 or math.prod(sizes) > LARGEST:
        raise ValueError(f"input {value.name!r} is {told}; no size may be 0, nor all of them too large")
    return sizes


def element_name(code: int) -> str:
    """ONNX's element type by numpy's name."""
    try:
        return ELEMENTS.get(code) or str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(code)).name)
    except (KeyError, ValueError, TypeError):
        return f"type {code}"
