"""Layers that change shape or order, and the layouts of the user's arrays."""

from __future__ import annotations

from cnngen.spec.importing.draft import Draft
from cnngen.spec.importing.patterns.graph import Graph, numbers

_TO_NHWC, _TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


def merge_reshapes(graph: Graph) -> None:
    """A reshape of a reshape is one, or none; a transpose that moves axes of size 1 alone is a reshape."""
    for layer in graph.layers:
        if layer.op == "transpose" and _moves_ones_alone(layer):
            layer.op, layer.fields = "reshape", {}
        if layer.op not in ("reshape", "flatten"):
            continue
        source = layer.inputs[0]
        while source.op in ("reshape", "flatten"):
            source = source.inputs[0]
        graph.rewire(layer, [source])
        flat = len(source.shape) > 2 and len(layer.shape) == 2 and source.shape[0] == layer.shape[0]
        if flat:
            layer.op, layer.fields = "flatten", {}
        else:
            free = 0 if source.shape[0] == layer.shape[0] else -1
            layer.op, layer.fields = "reshape", {"shape": [free, *layer.shape[1:]]}
        if source.shape == layer.shape and source.scalar == layer.scalar:
            _nothing(graph, layer, source)


def _nothing(graph: Graph, layer: Draft, source: Draft) -> None:
    """Takes out a layer that does nothing; one that is handed out stays as another name."""
    if layer in graph.outputs and (source.op == "input" or source in graph.outputs):
        layer.op, layer.fields = "identity", {}
    else:
        graph.replace(layer, source)


def _moves_ones_alone(layer: Draft) -> bool:
    axes = numbers(layer.fields["axes"])
    kept = [axis for axis in axes if layer.inputs[0].shape[axis] != 1]
    return axes[0] == 0 and kept == sorted(kept)


def merge_slices(graph: Graph) -> None:
    """A slice of a slice along other axes is one slice."""
    for layer in graph.layers:
        source = layer.inputs[0] if layer.inputs else layer
        if layer.op != "slice" or source.op != "slice":
            continue
        both = [(draft, numbers(draft.fields["axes"])) for draft in (source, layer)]
        if set(both[0][1]).intersection(both[1][1]):
            continue
        entries = sorted(
            (axis, *(_entry(draft, name, place) for name in ("starts", "ends", "steps")))
            for draft, axes in both
            for place, axis in enumerate(axes)
        )
        names = ("axes", "starts", "ends", "steps")
        fields: dict[str, object] = {name: [entry[k] for entry in entries] for k, name in enumerate(names)}
        if all(step == 1 for step in numbers(fields["steps"])):
            del fields["steps"]
        graph.rewire(layer, source.inputs)
        layer.fields = fields


def _entry(draft: Draft, name: str, place: int) -> object:
    values = draft.fields.get(name)
    return values[place] if isinstance(values, list) else 1


def fold_layouts(graph: Graph) -> None:
    """A transpose of an input or output between NCHW and NHWC is the layout of the user's array."""
    for draft in graph.inputs:
        read = graph.readers(draft)
        if read and all(user.op == "transpose" and user.fields["axes"] == _TO_NCHW for user in read):
            n, h, w, c = draft.shape
            draft.shape = (n, c, h, w)
            graph.nhwc.add(draft)
            for user in read:
                _nothing(graph, user, draft)
    for output in graph.outputs:
        if output.op == "transpose" and output.fields["axes"] == _TO_NHWC and not graph.readers(output):
            source = output.inputs[0]
            if source.op != "input" and source not in graph.outputs:
                graph.nhwc.add(source)
                graph.replace(output, source)
