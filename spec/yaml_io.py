"""Specs as YAML: loading with file:line:column on every problem, and writing what a person would write."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cnngen.spec.errors import Problem, SpecError, nearest
from cnngen.spec.network import InputSpec, NetworkSpec, OutputSpec
from cnngen.spec.ops import ACTIVATIONS, OPS, Activation, LayerBase
from cnngen.spec.resolve import resolve
from cnngen.spec.types import Precision
from cnngen.spec.yaml_nodes import Source, is_plain, parse

# What pydantic means, in the words of the spec's language; {0} is filled from the error's context.
_WORDS = {
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "string_type": "expected a text",
    "string_too_short": "expected a text that is not empty",
    "bool_type": "expected true or false",
    "tuple_type": "expected a list",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "greater_than_equal": "must be at least {ge}",
    "too_short": "needs at least {min_length} entries",
}


def load_spec(path: str | PathLike[str]) -> NetworkSpec:
    """Reads and checks a spec: its syntax, its fields, its references and shapes at every batch size.

    Raises SpecError with every problem and its file:line:column.
    """
    file = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SpecError(Problem(f"cannot read the spec: {error.strerror or error}", where=file)) from None
    except UnicodeDecodeError as error:
        raise SpecError(
            Problem(f"not a text in UTF-8: byte {error.start} is {error.reason}", where=file)
        ) from None
    return parse_spec(text, file)


def parse_spec(text: str, file: str = "spec.yaml") -> NetworkSpec:
    """`load_spec` of a text; `file` is the name that problems are reported with."""
    data, source = parse(text, file)
    if not isinstance(data, dict):
        raise SpecError(Problem("expected a mapping: name, inputs, layers, ...", where=source.place().where))
    try:
        spec = NetworkSpec.model_validate(data)
    except ValidationError as error:
        problems = [_problem(detail, data, source) for detail in error.errors(include_url=False)]
        raise SpecError(_in_order(problem for problem in problems if problem is not None)) from None
    try:
        for batch in spec.batch_sizes:
            resolve(spec, batch)
    except SpecError as error:
        raise SpecError(_in_order(_located(problem, spec, source) for problem in error.problems)) from None
    return spec


def dump_spec(spec: NetworkSpec) -> str:
    """The YAML of a spec, one line a layer; what is a default, or the layer before, is left out."""
    lines = [f"name: {_text(spec.name)}", "inputs:"]
    for name, tensor in spec.inputs.items():
        fields = {"shape": list(tensor.shape), "layout": tensor.layout, "dtype": tensor.dtype}
        lines.append(f"  {_text(name)}: {_flow(fields)}")
    lines.append(f"precision: {_flow(_short_precision(spec.precision))}")
    if not spec.batched:
        lines.append("batched: false")
    elif spec.batch_sizes != (next(iter(spec.inputs.values())).shape[0],):
        lines.append(f"batch_sizes: {_flow(list(spec.batch_sizes))}")
    if spec.profiles:
        lines.append("profiles:")
        lines += [
            f"  - {_flow({name: list(shape) for name, shape in shapes.items()})}" for shapes in spec.profiles
        ]
    if spec.weights is not None:
        lines.append(f"weights: {_text(spec.weights)}")
    lines.append("layers:")
    before = next(iter(spec.inputs)) if len(spec.inputs) == 1 else None
    for layer in spec.layers:
        lines.append(f"  - {_flow(_short_layer(layer, before))}")
        before = layer.name
    if spec.outputs:
        lines.append(f"outputs: {_flow([_short_output(output) for output in spec.outputs])}")
    return "\n".join(lines) + "\n"


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    def position(problem: Problem) -> list[int]:
        return [int(part) for part in (problem.where or "").split(":")[-2:] if part.isdigit()]

    return sorted(problems, key=position)


def _problem(detail: ErrorDetails, data: Mapping[str, object], source: Source) -> Problem | None:
    """A problem of one field, told in the spec's words."""
    kind, loc, got, context = detail["type"], detail["loc"], detail["input"], detail.get("ctx", {})
    place = source.place(loc)
    where, field = place.where, _field(place.path)
    short = kind == "too_short" and len(got) >= context["min_length"]  # its entries are wrong
    if short or kind == "default_factory_not_called":
        return None
    if kind == "extra_forbidden":
        allowed = _allowed_fields(loc[:-1])
        where, field = place.key, ""
        text = f"unknown field {loc[-1]!r}{nearest(str(loc[-1]), allowed)}; allowed: {', '.join(allowed)}"
    elif kind in ("missing", "union_tag_not_found"):
        missing = str(loc[-1]) if kind == "missing" else "op"
        text = f"field {missing!r} is missing"
    elif kind == "union_tag_invalid":
        text, where, field = _unknown_op(loc, str(context["tag"])), source.place((*loc, "op")).where, ""
    elif kind == "literal_error":
        wanted = [part.strip("'") for part in str(context["expected"]).replace(" or ", ", ").split(", ")]
        hint = nearest(got, wanted) if isinstance(got, str) else ""
        text = f"expected {context['expected']}, got {_show(got)}{hint}"
    elif kind in _WORDS:
        text = f"{_WORDS[kind].format(**context)}, got {_show(got)}".replace("1 entries", "1 entry")
    else:
        text = detail["msg"]
    if "[key]" in loc:
        where = place.key
    return Problem(f"{field}: {text}" if field else text, where=where, layer=_layer_name(place.path, data))


def _located(problem: Problem, spec: NetworkSpec, source: Source) -> Problem:
    """A problem of resolution with the position of its layer and field."""
    if problem.layer is None:
        return replace(problem, where=source.place((problem.field,) if problem.field else ()).key)
    places = [k for k, layer in enumerate(spec.layers) if layer.name == problem.layer]
    # of layers with one name, the later ones are wrong
    index = places[-1] if problem.field == "name" else places[0]
    return replace(problem, where=source.place(("layers", index, problem.field or "name")).where)


def _field(path: Sequence[int | str]) -> str:
    """`kernel[1]`, `inputs.image.shape`; of a layer only what is inside it."""
    inner = path[2:] if path[:1] == ("layers",) else path
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in inner)
    return text.removeprefix(".") or ("layers" if path[:1] == ("layers",) and len(path) == 1 else "")


def _layer_name(path: Sequence[int | str], data: Mapping[str, object]) -> str | None:
    layers = data.get("layers")
    if path[:1] != ("layers",) or len(path) < 2 or not isinstance(layers, list):
        return None
    layer = layers[int(path[1])]
    name = layer.get("name") if isinstance(layer, dict) else None
    return name if isinstance(name, str) else None


def _allowed_fields(loc: Sequence[int | str]) -> list[str]:
    """The fields of the model at `loc`."""
    if not loc:
        return list(NetworkSpec.model_fields)
    if loc[0] == "inputs":
        return list(InputSpec.model_fields)
    if loc[0] == "outputs":
        return list(OutputSpec.model_fields)
    if loc[-1] == "precision":
        return list(Precision.model_fields)
    if "activation" in loc[3:]:
        return next(
            list(cls.model_fields) for cls in ACTIVATIONS if cls.model_fields["op"].default == loc[-1]
        )
    return list(OPS[str(loc[2])].field_order())


def _unknown_op(loc: Sequence[int | str], tag: str) -> str:
    activation = loc[-1] == "activation"
    known = [str(cls.model_fields["op"].default) for cls in ACTIVATIONS] if activation else list(OPS)
    what = "activation" if activation else "op"
    return f"unknown {what} {tag!r}{nearest(tag, known)}; allowed: {', '.join(known)}"


def _show(value: object) -> str:
    """What was got, in YAML's words."""
    names = {None: "nothing", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return names[value]
    if isinstance(value, dict):
        return "a mapping"
    text = repr(list(value)) if isinstance(value, tuple) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _short_layer(layer: LayerBase, before: str | None) -> dict[str, object]:
    result: dict[str, object] = {}
    for field in layer.field_order():
        value, info = getattr(layer, field), type(layer).model_fields[field]
        if field in ("input", "inputs"):
            continue
        if field == "op":
            result[field] = value
            if layer.sources is not None and layer.sources != (before,):
                single = len(layer.sources) == 1
                result["input" if single else "inputs"] = layer.sources[0] if single else list(layer.sources)
            continue
        default = info.get_default(call_default_factory=True, validated_data=dict(layer))
        if info.is_required() or value != default:
            result[field] = _short(field, value)
    return result


def _short(field: str, value: object) -> object:
    if isinstance(value, Activation):
        fields = {key: _short(key, part) for key, part in _changed(value).items()}
        return {"op": value.op, **fields} if fields else value.op
    if isinstance(value, Precision):
        return _short_precision(value)
    if isinstance(value, tuple):
        sized = field in ("kernel", "stride", "dilation", "scale", "size", "padding")
        if sized and len(set(value)) == 1:
            return value[0]
        return list(value[:2]) if field == "padding" and value[:2] == value[2:] else list(value)
    return value


def _short_precision(precision: Precision) -> object:
    changed = _changed(precision)
    return (
        precision.storage if not changed.keys() - {"storage"} else {"storage": precision.storage, **changed}
    )


def _short_output(output: OutputSpec) -> object:
    changed = _changed(output)
    del changed["layer"]
    return {"layer": output.layer, **changed} if changed else output.layer


def _changed(model: BaseModel) -> dict[str, object]:
    """The fields that differ from their default."""
    fields = type(model).model_fields
    return {name: value for name, value in model if value != fields[name].get_default()}


def _flow(value: object) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    if isinstance(value, float):
        mantissa, exponent, power = repr(value).partition("e")
        # 1e-05 is a text to readers of YAML 1.1, 1.0e-05 is not
        return f"{mantissa}{'' if '.' in mantissa or not exponent else '.0'}{exponent}{power}"
    return json.dumps(value)


def _text(value: str) -> str:
    return value if is_plain(value) else json.dumps(value, ensure_ascii=False)
