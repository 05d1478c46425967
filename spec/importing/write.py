"""Writes drafted layers as a spec and its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import ValidationError

from cnngen.spec.errors import ImportModelError, Problem, SpecError
from cnngen.spec.importing.draft import FLOATS, Draft, Imported
from cnngen.spec.importing.patterns.graph import numbers
from cnngen.spec.manifest import ELEMENT_TYPES, Array
from cnngen.spec.names import module_name, sanitize
from cnngen.spec.network import NetworkSpec
from cnngen.spec.ops import OPS, WeightedLayer
from cnngen.spec.resolve import resolve
from cnngen.spec.types import Shape

_KNOWN = ("constant", "fill", "zeros")  # layers without inputs
_TENSOR_FIELDS = {"parameter": "parameter", "indices": "indices_parameter"}  # role -> the field that names it


def write(
    imported: Imported,
    name: str,
    batch_sizes: Sequence[int] | None = None,
    where: str | None = None,
    batched: bool | None = None,
    keep_names: bool = False,
    profiles: Sequence[Mapping[str, Shape]] = (),
) -> tuple[NetworkSpec, dict[str, Array]]:
    """The spec and the weights of a model whose layers are final.

    Args:
        imported: the layers; their names are made unique here.
        name: of the network.
        batch_sizes: default: the model's own batch.
        where: what problems are told of: the model's file.
        batched: whether axis 0 is the batch; None: where that is possible.
        keep_names: whether tensors keep the model's names for them; else they are named after their layers.
        profiles: further shapes of the inputs.

    Raises:
        ImportModelError: the layers contradict each other, or a name or size is not possible.
    """
    for draft in imported.layers:
        draft.name = imported.names.free(draft.name)
    writer = _Writer(imported, name, batch_sizes, where, keep_names, profiles)
    if batched is None:
        batched = batch_sizes is not None
        if _has_batch(imported):
            try:
                return writer.spec(batched=True)
            except ImportModelError:
                if batch_sizes is not None:
                    raise
    return writer.spec(batched=batched)


def network_name(text: str) -> str:
    """`text`, such as a file's stem, as the name of a network."""
    text = sanitize(text, "net")
    try:
        return module_name(text)
    except ValueError:
        return module_name(f"{text.rstrip('_')}_net")


def _has_batch(imported: Imported) -> bool:
    """Whether axis 0 can be the batch, as far as inputs, outputs and constants say."""
    ends = [*imported.inputs, *imported.outputs]
    batch = imported.inputs[0].shape[0]
    same = all(len(draft.shape) > 1 and draft.shape[0] == batch for draft in ends)
    moved = any(draft.op == "transpose" and numbers(draft.fields["axes"])[0] for draft in imported.layers)
    return (
        same and not moved and all(_per_item(draft, batch) for draft in imported.layers if draft.op in _KNOWN)
    )


def _per_item(known: Draft, batch: int) -> bool:
    """Whether a layer without inputs is the same for every item."""
    if len(known.shape) < 2 or known.shape[0] not in (1, batch):
        return False
    arrays = [parameter.array for parameter in known.parameters.values()]
    return all(np.array_equal(item, array[0]) for array in arrays for item in array[1:])


@dataclass(frozen=True)
class _Writer:
    imported: Imported
    name: str
    batch_sizes: Sequence[int] | None
    where: str | None
    keep_names: bool
    profiles: Sequence[Mapping[str, Shape]]

    def spec(self, batched: bool) -> tuple[NetworkSpec, dict[str, Array]]:
        """The spec with or without a batch, resolved at each of its batch sizes."""
        imported = self.imported
        precision = _precision(imported)
        layers, weights = _layers(imported, batched, precision, self.keep_names)
        outputs = [_output(draft, draft in imported.nhwc) for draft in imported.outputs]
        spec_data: dict[str, object] = {
            "name": self.name,
            "inputs": {draft.name: _input(draft, draft in imported.nhwc) for draft in imported.inputs},
            "precision": precision,
            "weights": "weights.safetensors",
            "layers": layers,
            "outputs": [] if outputs == [layers[-1]["name"]] else outputs,
        }
        if not batched:
            spec_data["batched"] = False
        if self.profiles:
            spec_data["profiles"] = [_changed(imported, shapes) for shapes in self.profiles]
        if self.batch_sizes is not None:
            spec_data["batch_sizes"] = list(self.batch_sizes)
        try:
            spec = NetworkSpec.model_validate(spec_data)
            for batch in spec.batch_sizes:
                resolve(spec, batch)
        except ValidationError as error:
            raise ImportModelError(
                Problem(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}", where=self.where)
                for detail in error.errors()
                if detail["type"] != "default_factory_not_called"
            ) from None
        except SpecError as error:
            raise ImportModelError(replace(problem, where=self.where) for problem in error.problems) from None
        return spec, weights


def _precision(imported: Imported) -> str:
    """The one type of all weights, or of all inputs where there are none; else float32."""
    arrays = [parameter.array for draft in imported.layers for parameter in draft.parameters.values()]
    types = {array.dtype.name for array in arrays if array.dtype.name in FLOATS}
    types = types or {draft.dtype for draft in imported.inputs if draft.dtype in FLOATS}
    return types.pop() if len(types) == 1 else "float32"


def _input(draft: Draft, nhwc: bool) -> dict[str, object]:
    return {"shape": list(draft.shape), "layout": "NHWC" if nhwc else "NCHW", "dtype": draft.dtype}


def _changed(imported: Imported, shapes: Mapping[str, Shape]) -> dict[str, list[int]]:
    """The shapes that are others than the inputs' own; all where none is, which the spec refuses."""
    own = {draft.name: draft.shape for draft in imported.inputs}
    changed = {name: list(shape) for name, shape in shapes.items() if shape != own[name]}
    return changed or {name: list(shape) for name, shape in shapes.items()}


def _output(draft: Draft, nhwc: bool) -> str | dict[str, object]:
    fields: dict[str, object] = {"layout": "NHWC"} if nhwc else {}
    if draft.dtype != "float32":
        fields["dtype"] = draft.dtype
    return {"layer": draft.name, **fields} if fields else draft.name


def _layers(
    imported: Imported, batched: bool, precision: str, keep_names: bool
) -> tuple[list[dict[str, object]], dict[str, Array]]:
    """The layers as a spec states them, and the weights; a tensor that two layers read is stored once."""
    layers: list[dict[str, object]] = []
    weights: dict[str, Array] = {}
    stored: dict[tuple[str, str], str] = {}
    fixed = {
        _own_name(draft, role)
        for draft in imported.layers
        for role in draft.parameters
        if not _can_be_named(draft, role)
    }
    before = imported.inputs[0].name if len(imported.inputs) == 1 else None
    for draft in imported.layers:
        layer: dict[str, object] = {"name": draft.name, "op": draft.op, **draft.fields}
        sources = [source.name for source in draft.inputs]
        if len(sources) == 1 and sources[0] != before:
            layer["input"] = sources[0]
        elif len(sources) > 1:
            layer["inputs"] = sources
        if batched and draft.op in _KNOWN:
            layer["shape"] = list(draft.shape[1:])
        own = draft.dtype if draft.dtype in FLOATS else "float32"  # in which numbers up to 2^24 are exact
        if own != precision:
            layer["precision"] = own
        for role, parameter in draft.parameters.items():
            array = _storable(parameter.array)
            if batched and draft.op in _KNOWN:
                array = array[0]
            tensor = own = _own_name(draft, role)
            if _can_be_named(draft, role):
                kept = keep_names and parameter.origin not in fixed
                wanted = parameter.origin if kept and parameter.origin else own
                first = stored.setdefault((parameter.origin or own, role), wanted)
                if first not in weights or np.array_equal(weights[first], array):
                    tensor = first
            if tensor != f"{draft.name}.{role}" or role in _TENSOR_FIELDS:
                layer[_TENSOR_FIELDS.get(role, role)] = tensor
            weights[tensor] = array
        layers.append(layer)
        before = draft.name
    return layers, weights


def _own_name(draft: Draft, role: str) -> str:
    return f"{draft.name}.{'constant' if role == 'parameter' else role}"


def _can_be_named(draft: Draft, role: str) -> bool:
    """Whether the layer has a field that names the tensor."""
    return role in _TENSOR_FIELDS or issubclass(OPS[draft.op], WeightedLayer)


def _storable(array: Array) -> Array:
    return array if array.dtype.name in ELEMENT_TYPES else array.astype(np.float32)
