"""Writes drafted layers as a spec and its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pydantic import ValidationError

from cnngen.spec.errors import ImportModelError, Problem, SpecError
from cnngen.spec.importing.draft import Draft, Imported
from cnngen.spec.manifest import ELEMENT_TYPES, Array
from cnngen.spec.names import module_name, sanitize
from cnngen.spec.network import NetworkSpec
from cnngen.spec.resolve import resolve


def write(
    imported: Imported, name: str, batch_sizes: Sequence[int] | None = None, where: str | None = None
) -> tuple[NetworkSpec, dict[str, Array]]:
    """The spec and the weights of a model whose layers are final.

    Args:
        imported: the layers; their names are made unique here.
        name: of the network.
        batch_sizes: default: the model's own batch.
        where: what problems are told of: the model's file.

    Raises:
        ImportModelError: the layers contradict each other, or a name or size is not possible.
    """
    for draft in imported.layers:
        draft.name = imported.names.free(draft.name)
    layers, weights = _layers(imported)
    outputs = [_output(draft, draft in imported.nhwc) for draft in imported.outputs]
    dtypes = {array.dtype.name for array in weights.values()}
    spec_data = {
        "name": name,
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
            Problem(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}", where=where)
            for detail in error.errors()
            if detail["type"] != "default_factory_not_called"
        ) from None
    except SpecError as error:
        raise ImportModelError(replace(problem, where=where) for problem in error.problems) from None
    return spec, weights


def network_name(text: str) -> str:
    """`text`, such as a file's stem, as the name of a network."""
    text = sanitize(text, "net")
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
