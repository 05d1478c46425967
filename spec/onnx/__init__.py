"""Imports an ONNX model as a spec that a person could have written, and its weights.

The nodes are walked in order. A value is a constant (an array), or a tensor that some layer makes; whatever
depends on constants and shapes alone is evaluated on the way. What is left is rewritten to the spec's own
forms and named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from cnngen.spec.errors import ImportModelError, Problem, SpecError
from cnngen.spec.manifest import ELEMENT_TYPES, Array
from cnngen.spec.names import module_name, sanitize
from cnngen.spec.network import NetworkSpec
from cnngen.spec.onnx.draft import Draft
from cnngen.spec.onnx.load import load_model
from cnngen.spec.onnx.patterns import simplify
from cnngen.spec.onnx.walk import Imported, walk
from cnngen.spec.resolve import resolve

__all__ = ["import_onnx"]


def import_onnx(
    path: str | PathLike[str],
    name: str | None = None,
    batch_sizes: Sequence[int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> tuple[NetworkSpec, dict[str, Array]]:
    """The spec and the weights of an ONNX model (opset 9 and newer).

    Args:
        path: the .onnx file.
        name: of the network; default: made from the file's name.
        batch_sizes: default: the model's own batch, 1 where it is dynamic.
        shapes: the shape of each input that has dynamic axes beyond the batch.

    Raises:
        ImportModelError: the file cannot be read, an axis has no size, or nodes cannot be expressed: all of
            them, each with its name and the reason.
    """
    file = Path(path)
    imported = simplify(walk(load_model(file, shapes or {})))
    for draft in imported.layers:
        draft.name = imported.names.free(draft.name)
    layers, weights = _layers(imported)
    outputs = [_output(draft, draft in imported.nhwc) for draft in imported.outputs]
    dtypes = {array.dtype.name for array in weights.values()}
    spec_data = {
        "name": name or _name(file.stem),
        "inputs": {draft.name: _input(draft, draft in imported.nhwc) for draft in imported.inputs},
        "precision": dtypes.pop() if len(dtypes) == 1 else "float32",
        "weights": "weights.safetensors",
        "layers": layers,
        "outputs": [] if outputs == [layers[-1]["name"]] else outputs,
    }
    if batch_sizes is not None:
        spec_data["batch_sizes"] = list(batch_sizes)
    try:
        spec = NetworkSpec.model_validate(spec_data)
        for batch in spec.batch_sizes:
            resolve(spec, batch)
    except ValidationError as error:
        raise ImportModelError(
            Problem(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}", where=str(file))
            for detail in error.errors()
            if detail["type"] != "default_factory_not_called"
        ) from None
    except SpecError as error:
        raise ImportModelError(replace(problem, where=str(file)) for problem in error.problems) from None
    return spec, weights


def _name(stem: str) -> str:
    text = sanitize(stem, "net")
    try:
        return module_name(text)
    except ValueError:
        return module_name(f"{text.rstrip('_')}_net")


def _input(draft: Draft, nhwc: bool) -> dict[str, object]:
    return {"shape": list(draft.shape), "layout": "NHWC" if nhwc else "NCHW", "dtype": draft.dtype}


def _output(draft: Draft, nhwc: bool) -> str | dict[str, object]:
    fields: dict[str, object] = {"layout": "NHWC"} if nhwc else {}
    if draft.dtype != "float32":
        fields["dtype"] = draft.dtype
    return {"layer": draft.name, **fields} if fields else draft.name


def _layers(imported: Imported) -> tuple[list[dict[str, object]], dict[str, Array]]:
    """The layers as a spec states them, and the weights; a tensor that two layers read is stored once."""
    layers: list[dict[str, object]] = []
    weights: dict[str, Array] = {}
    stored: dict[tuple[str, str], str] = {}
    before = imported.inputs[0].name if len(imported.inputs) == 1 else None
    for draft in imported.layers:
        layer: dict[str, object] = {"name": draft.name, "op": draft.op, **draft.fields}
        sources = [source.name for source in draft.inputs]
        if len(sources) == 1 and sources[0] != before:
            layer["input"] = sources[0]
        elif len(sources) > 1:
            layer["inputs"] = sources
        for role, parameter in draft.parameters.items():
            array = _storable(parameter.array)
            tensor = own = f"{draft.name}.{'constant' if role == 'parameter' else role}"
            if role == "parameter" or draft.op in ("conv2d", "linear"):  # these can name their tensors
                first = stored.setdefault((parameter.origin or own, role), own)
                if first == own or np.array_equal(weights[first], array):
                    tensor = first
            if tensor != f"{draft.name}.{role}":
                layer[role] = tensor
            weights[tensor] = array
        layers.append(layer)
        before = draft.name
    return layers, weights


def _storable(array: Array) -> Array:
    return array if array.dtype.name in ELEMENT_TYPES else array.astype(np.float32)
