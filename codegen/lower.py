"""From a spec to a graph: every layer lowered to primitive forms at one batch size.

The network's inputs are read, and its outputs written, by a pointwise step each that converts between the declared
layout and type and the internal ones (channels-last, the storage type); `fuse_epilogues` merges them with their
neighbours where it can.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import ACC, Expr, Int, Load
from cnngen.codegen.graph import FLOATS, Array, Constant, Graph, Layout, Node, Shape, Value, unused
from cnngen.codegen.node_ops import Op, Pointwise, Reduce, ReduceKind, Reshape
from cnngen.codegen.ops import OPS
from cnngen.spec.network import NetworkSpec
from cnngen.spec.resolve import ResolvedLayer, resolve
from cnngen.spec.types import ElementType, Precision

INPUT, OUTPUT = "@input", "@output"  # what tells a network's input or output from the layer's own value


def lower(spec: NetworkSpec, weights: Mapping[str, Array], batch: int, profile: int = 0) -> Graph:
    """The graph of `spec` at `batch`, in a profile; `weights` are checked already (`check_weights`)."""
    resolved = resolve(spec, batch, profile)
    lowering = Lowering(resolved.shapes, weights, batched=spec.batched)
    inputs = []
    for name, declared in spec.inputs.items():
        shape = resolved.shapes[name]
        layout: Layout = declared.layout if len(shape) == 4 else "packed"
        value = Value(lowering.fresh(name + INPUT), shape, declared.dtype, layout)
        inputs.append(value)
        lowering.begin(name, spec.precision)
        lowering.values[value.name] = value
        lowering.emit(
            Pointwise(),
            [value.name],
            shape,
            lowering.here(value),
            name=name,
            dtype=lowering.inside(declared.dtype),
        )
    for layer in resolved.layers:
        lowering.lower(layer, layer.layer.precision or spec.precision)
    outputs = []
    for output in resolved.outputs:
        value = lowering.values[output.layer]
        lowering.begin(output.layer, spec.precision)
        layout = output.layout if len(value.shape) == 4 else "packed"
        name = lowering.fresh(output.layer + OUTPUT)
        outputs.append(
            lowering.emit(
                Pointwise(),
                [output.layer],
                value.shape,
                lowering.here(value),
                name=name,
                dtype=output.dtype,
                layout=layout,
            )
        )
    graph = Graph(spec.name, batch, tuple(inputs), tuple(lowering.nodes), tuple(outputs), lowering.constants)
    return graph.with_nodes(graph.nodes)


def layouts(rank: int) -> tuple[Layout, ...]:
    """How an activation may lie in memory, first how it does where nothing speaks for another."""
    known: dict[int, tuple[Layout, ...]] = {3: ("packed", "NLC"), 4: ("NHWC", "NCHW")}
    return known.get(rank, ("packed",))


class Lowering:
    """What an op's lowering emits nodes through; the state is the layer being lowered and the graph so far.

    `names`: of all layers and network inputs; no other value takes one of them.
    `batched`: whether axis 0 of every activation is the batch, and so never broadcast.
    """

    def __init__(
        self, names: Mapping[str, Shape], weights: Mapping[str, Array], *, batched: bool = True
    ) -> None:
        self.names = names
        self.weights = weights
        self.batched = batched
        self.shared: dict[tuple[str, Shape, ElementType], str] = {}  # weight, shape, type -> its constant
        self.values: dict[str, Value] = {}
        self.nodes: list[Node] = []
        self.constants: dict[str, Constant] = {}
        self.begin("", Precision(storage="float32"))

    def begin(self, layer: str, precision: Precision) -> None:
        self.layer, self.precision = layer, precision

    def lower(self, resolved: ResolvedLayer, precision: Precision) -> None:
        """Emits a layer; its last value takes the layer's name."""
        layer = resolved.layer
        self.begin(layer.name, precision)
        inputs = [self.cast(name) for name in resolved.inputs]
        self.parameters = {role: ref.name for role, ref in resolved.parameters.items()}
        result = OPS[layer.op].lower(self, layer, inputs, resolved.shape)
        if result != layer.name:
            self._take_name(result, resolved.shape)

    def _take_name(self, result: str, shape: Shape) -> None:
        """Renames the layer's last node after the layer; a layer without one gets a view."""
        last = self.nodes[-1] if self.nodes else None
        if last is not None and last.name == result and last.layers == (self.layer,):
            del self.values[result]
            self.nodes[-1] = Node(
                Value(self.layer, last.value.shape, last.value.dtype, last.value.layout),
                last.op,
                last.inputs,
                last.layers,
                last.epilogue,
            )
            self.values[self.layer] = self.nodes[-1].value
        else:  # the layer is its input, or a constant: another name for the same elements
            same = self.values[result]
            self.emit(Reshape(), [result], shape, dtype=same.dtype, layout=same.layout, name=self.layer)

    def shape(self, name: str) -> Shape:
        return self.values[name].shape

    def emit(
        self,
        op: Op,
        inputs: list[str],
        shape: Shape,
        epilogue: Expr = ACC,
        *,
        name: str | None = None,
        dtype: ElementType | None = None,
        layout: Layout | None = None,
    ) -> str:
        """Adds a node of the current layer; returns the name of its value."""
        if name is None:
            name = self.fresh(f"{self.layer}.{type(op).__name__.lower()}")
        layout = layout or layouts(len(shape))[0]
        self.values[name] = Value(name, shape, dtype or self.precision.storage, layout)
        self.nodes.append(Node(self.values[name], op, tuple(inputs), (self.layer,), epilogue))
        return name

    def map(self, inputs: list[str], shape: Shape, epilogue: Expr, dtype: ElementType | None = None) -> str:
        """Adds a pointwise node; it lies in memory like its first input of the same shape."""
        same = [self.values[name] for name in inputs if self.values[name].shape == shape]
        layout = same[0].layout if same else None
        return self.emit(Pointwise(), inputs, shape, epilogue, dtype=dtype, layout=layout)

    def reduce(
        self, kind: ReduceKind, name: str, axes: Iterable[int], dtype: ElementType | None = None
    ) -> str:
        """The value reduced along logical axes, which stay with size 1; a step for neighbours in memory."""
        value, axes = self.values[name], set(axes)
        several = [axis for axis in reversed(value.axes) if value.shape[axis] > 1]
        runs = [tuple(run) for reduced, run in itertools.groupby(several, axes.__contains__) if reduced]
        if not runs:
            x = self.here(value)
            same = {"sum_squares": ex.call("mul", x, x), "variance": ex.Float(0.0)}
            return self.map([name], value.shape, same.get(kind, x), dtype)
        if kind == "variance" and len(runs) > 1:
            mean = self.identity_load(
                1, mean_name := self.reduce("mean", name, axes, "float32"), len(value.shape)
            )
            distance = ex.call("sub", self.here(value), mean)
            squares = ex.call("mul", distance, distance)
            name = self.map([name, mean_name], value.shape, squares, "float32")
            return self.reduce("mean", name, axes, dtype)
        for run in runs:
            last = run is runs[-1]
            shape = tuple(1 if axis in run else size for axis, size in enumerate(self.shape(name)))
            op = Reduce(kind, tuple(sorted(run)))
            name = self.emit(op, [name], shape, dtype=dtype if last else "float32", layout=value.layout)
            kind = "sum" if kind == "sum_squares" else kind
        return name

    def inside(self, dtype: ElementType) -> ElementType:
        """The type in which a network's input of that type is kept: a whole number stays one."""
        return self.precision.storage if dtype in FLOATS else "int32" if dtype == "int64" else dtype

    def here(self, value: Value, source: int = 0) -> Load:
        """A load of a value of the output's own shape, at the output's coordinate."""
        return ex.broadcast_load(source, value.shape, len(value.shape), batched=self.batched)

    def identity_load(self, source: int, name: str, rank: int) -> Load:
        """A load at the output's coordinate, under numpy's broadcasting to `rank` axes."""
        batched = self.batched and name not in self.constants
        return ex.broadcast_load(source, self.shape(name), rank, batched=batched)

    def cast(self, name: str) -> str:
        """A float in the current layer's storage type; whole numbers and bools as they are."""
        return self.floats(name) if self.values[name].dtype in FLOATS else name

    def floats(self, name: str) -> str:
        """The value in the current layer's storage type."""
        return self._copy(name, self.precision.storage, self.values[name].layout)

    def row_major(self, name: str) -> str:
        """The value with its elements in memory in logical order."""
        value = self.values[name]
        layout: Layout = "NCHW" if len(value.shape) == 4 else "packed"
        return name if value.is_row_major else self._copy(name, value.dtype, layout)

    def channels_last(self, name: str) -> str:
        """The value [N, C, L] or [N, C, H, W] with its channels innermost in memory, as convolutions read it."""
        value = self.values[name]
        layout: Layout = "NHWC" if len(value.shape) == 4 else "NLC"
        if value.layout != layout and value.lies_like(replace(value, layout=layout)):
            return self.emit(Reshape(), [name], value.shape, dtype=value.dtype, layout=layout)
        return self._copy(name, value.dtype, layout)

    def _copy(self, name: str, dtype: ElementType, layout: Layout) -> str:
        value = self.values[name]
        if (value.dtype, value.layout) == (dtype, layout):
            return name
        return self.emit(Pointwise(), [name], value.shape, self.here(value), dtype=dtype, layout=layout)

    def reshape(self, name: str, shape: Shape) -> str:
        """The same elements in logical order under another shape: a view where memory agrees, else a copy."""
        source = self.values[name]
        if source.shape == shape:
            return name
        for layout in layouts(len(shape)):
            if Value("", shape, source.dtype, layout).is_view_of(source):
                return self.emit(Reshape(), [name], shape, dtype=source.dtype, layout=layout)
        # The batch axis stays out of the arithmetic where it is kept, so that every batch size has the same expression.
        kept = 1 if self.batched and shape[0] == source.shape[0] else 0
        linear: Expr = Int(0)
        for axis, extent in enumerate(shape[kept:], kept):
            place: Expr = Int(0) if extent == 1 else ex.Coord(axis)
            linear = ex.call("iadd", ex.call("imul", linear, Int(extent)), place)
        index: list[Expr] = [ex.Coord(0)] * kept
        stride = math.prod(source.shape[kept:])
        for axis, extent in enumerate(source.shape[kept:], kept):
            stride //= extent
            place = ex.call("idiv", linear, Int(stride))
            index.append(place if axis == kept else ex.call("imod", place, Int(extent)))
        return self.emit(Pointwise(), [name], shape, Load(0, tuple(index)), dtype=source.dtype)

    def parameter(
        self,
        role: str,
        reshape: Callable[[Shape], Shape] = lambda shape: shape,
        *,
        dtype: ElementType | None = None,
    ) -> str:
        """A weight of the current layer as a constant in the graph, one for all layers that share it."""
        name, dtype = self.parameters[role], dtype or self.precision.storage
        array = self.weights[name]
        key = name, reshape(array.shape), dtype
        if key not in self.shared:
            self.shared[key] = self.constant(name, array.reshape(reshape(array.shape)), dtype)
        return self.shared[key]

    def weight(self, role: str) -> Array:
        """A weight of the current layer as float32."""
        return np.asarray(self.weights[self.parameters[role]], np.float32)

    def constant(self, name: str, array: Array, dtype: ElementType | None = None) -> str:
        """A new constant, whatever its type given as float32; a filter (rank 4) is stored K, R, S, C."""
        dtype = dtype or self.precision.storage
        array = np.asarray(array, np.float32)
        layout: Layout = layouts(array.ndim)[0]
        name = self.fresh(name)
        self.values[name] = Value(name, array.shape, dtype, layout)
        self.constants[name] = Constant(self.values[name], array)
        return name

    def fresh(self, name: str) -> str:
        """`name`, or one like it where a value or a layer has that."""
        return unused(name, self.values.keys() | self.names.keys())
