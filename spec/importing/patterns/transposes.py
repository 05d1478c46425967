"""Transposes, moved behind the layers that do not care, until they meet their inverse."""

from __future__ import annotations

from cnngen.spec.importing.draft import Draft, Parameter
from cnngen.spec.importing.patterns.graph import Graph, numbers
from cnngen.spec.ops import OPS
from cnngen.spec.ops.activation import ElementwiseLayer
from cnngen.spec.ops.arithmetic import Binary

Axes = list[int]


def move_transposes(graph: Graph) -> None:
    """Computes before transposing wherever that saves a transpose, as in models whose channels are last."""
    done: list[Draft] = []
    for layer in graph.layers:
        done.append(layer)
        if layer.op == "transpose":
            _cancel(graph, layer)
            continue
        axes = _common(graph, layer)
        moved = _moved(layer, axes) if axes else None
        if moved is None:
            continue
        graph.rewire(layer, [source.inputs[0] for source in layer.inputs])
        behind = Draft("transpose", "transpose", [], layer.shape, layer.dtype, {"axes": moved})
        layer.shape = _undone(layer.shape, moved)
        if moved != sorted(moved):
            done.append(behind)
            graph.replace(layer, behind)
            graph.rewire(behind, [layer])
    graph.layers = done


def keep_batch(graph: Graph) -> None:
    """A transpose that puts an axis of size 1 before the batch is one of the other axes, between reshapes."""
    done: list[Draft] = []
    for layer in graph.layers:
        axes = _axes(layer) if layer.op == "transpose" else [0]
        shape = layer.inputs[0].shape if axes[0] else ()
        kept = [axis for axis, size in enumerate(shape) if axis == 0 or size != 1]
        order = [kept.index(axis) for axis in axes if axis in kept]
        if not shape or order[0]:
            done.append(layer)
            continue
        small = tuple(shape[axis] for axis in kept)
        without = Draft("reshape", "reshape", [], small, layer.dtype, {"shape": [0, *small[1:]]})
        turned = tuple(small[axis] for axis in order)
        moved = Draft("transpose", "transpose", [], turned, layer.dtype, {"axes": order})
        graph.rewire(without, layer.inputs)
        graph.rewire(moved, [without])
        graph.rewire(layer, [moved])
        free = 0 if layer.shape[0] == turned[0] else -1
        layer.op, layer.fields = "reshape", {"shape": [free, *layer.shape[1:]]}
        done += [without, moved, layer]
    graph.layers = done


def fold_into_products(graph: Graph) -> None:
    """A matrix product reads a transposed matrix as it is."""
    for layer in graph.layers:
        if layer.op != "matmul":
            continue
        for place, name in enumerate(("transpose_a", "transpose_b")):
            source = layer.inputs[place]
            rank = len(source.shape)
            swapped = [*range(rank - 2), rank - 1, rank - 2]
            if (
                source.op == "transpose"
                and rank > 1
                and _axes(source) == swapped
                and name not in layer.fields
            ):
                layer.fields[name] = True
                graph.rewire(
                    layer, [source.inputs[0] if k == place else x for k, x in enumerate(layer.inputs)]
                )


def _cancel(graph: Graph, layer: Draft) -> None:
    """A transpose of a transpose is one, or none."""
    source = layer.inputs[0]
    if source.op == "transpose":
        first, second = _axes(source), _axes(layer)
        layer.fields = {"axes": [first[axis] for axis in second]}
        graph.rewire(layer, source.inputs)
    if _axes(layer) == sorted(_axes(layer)) and layer not in graph.outputs:
        graph.replace(layer, layer.inputs[0])


def _common(graph: Graph, layer: Draft) -> Axes | None:
    """The one order that all inputs are transposed to, where one of them is needed by nothing else."""
    orders = [_axes(source) for source in layer.inputs if source.op == "transpose"]
    if not orders or len(orders) != len(layer.inputs) or any(order != orders[0] for order in orders):
        return None
    if layer.op == "slice" and all(user.op == "slice" for user in graph.readers(layer.inputs[0])):
        return orders[0]  # each part by itself
    for source in layer.inputs:
        others = [user for user in graph.readers(source) if user is not layer and user.op != "transpose"]
        if not others and source not in graph.outputs:
            return orders[0]
    return None


def _axes(layer: Draft) -> Axes:
    return numbers(layer.fields["axes"])


def _undone(shape: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    """The shape before a transpose to `axes` gave `shape`."""
    return tuple(shape[axes.index(axis)] for axis in range(len(shape)))


def _moved(layer: Draft, axes: Axes) -> Axes | None:
    """Makes a layer work on what its inputs were transposed from; the order to transpose its result to."""
    kind = OPS[layer.op]
    if layer.op.startswith("reduce_"):
        return _reduction(layer, axes)
    if layer.op in ("concat", "softmax", "log_softmax"):
        return _along_axis(layer, axes)
    if layer.op == "pad" and "pads" in layer.fields:
        return _pad(layer, axes)
    if layer.op == "slice":
        layer.fields["axes"] = [axes[axis] for axis in _axes(layer)]
        return axes
    if issubclass(kind, Binary):
        return _binary(layer, axes)
    if issubclass(kind, ElementwiseLayer) and layer.op != "prelu":
        return axes
    return None


def _binary(layer: Draft, axes: Axes) -> Axes | None:
    parameter = layer.parameters.get("parameter")
    if len(layer.shape) != len(axes) or any(len(source.shape) != len(axes) for source in layer.inputs):
        return None
    if parameter is not None:
        array = parameter.array.reshape((1,) * (len(axes) - parameter.array.ndim) + parameter.array.shape)
        array = array.transpose([axes.index(axis) for axis in range(len(axes))])
        while array.ndim > 1 and array.shape[0] == 1:
            array = array[0]
        layer.parameters["parameter"] = Parameter(array, parameter.origin)
        layer.fields.pop("parameter_shape", None)
        before = _undone(layer.shape, axes)
        if array.shape != (before[1], *(1,) * (len(axes) - 2)):
            layer.fields["parameter_shape"] = list(array.shape)
    return axes


def _along_axis(layer: Draft, axes: Axes) -> Axes:
    rank = len(axes)
    given = layer.fields.pop("axis", 1 if layer.op == "concat" else -1)
    axis = axes[given % rank] if isinstance(given, int) else 0
    if axis != (1 if layer.op == "concat" else rank - 1):
        layer.fields["axis"] = axis
    return axes


def _reduction(layer: Draft, axes: Axes) -> Axes:
    rank, reduced = len(axes), [axes[axis] for axis in numbers(layer.fields["axes"])]
    keep = layer.fields.get("keepdims", True)
    left = [axis for axis in axes if axis not in reduced]
    result = axes if keep else [sorted(left).index(axis) for axis in left]
    pool = {"reduce_mean": "global_avg_pool", "reduce_max": "global_max_pool"}.get(layer.op)
    layer.fields["axes"] = sorted(reduced)
    if pool and rank > 2 and sorted(reduced) == list(range(2, rank)):
        layer.op = pool
        del layer.fields["axes"]
    return result or [0]


def _pad(layer: Draft, axes: Axes) -> Axes | None:
    given = layer.fields.pop("pads")
    pairs = given if isinstance(given, list) else []
    before = [pairs[axes.index(axis)] for axis in range(len(axes))]
    image = len(axes) == 4 and not any(map(any, before[:2])) and min(map(min, before)) >= 0
    if image:
        layer.fields["padding"] = [before[2][0], before[3][0], before[2][1], before[3][1]]
    else:
        layer.fields["pads"] = before
    return axes
