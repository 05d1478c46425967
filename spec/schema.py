"""What the models say of themselves: the JSON schema for editors, and the layer reference of the docs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from cnngen.spec.network import InputSpec, NetworkSpec, OutputSpec
from cnngen.spec.ops import ACTIVATIONS, OPS, LayerBase
from cnngen.spec.types import Model, Precision

Schema = Mapping[str, Any]

_INTRO = """\
# Layer reference

Generated from the models in `spec/`; `cnngen schema` writes the same as a JSON schema for editors.

Shapes are logical: `[N, C, H, W]`, whatever the layout in memory. A size is one number for both directions or
`[height, width]`. The first layer reads the network's input, each further one the layer before, and weights
come from the weight file as `<layer>.<role>` (`conv1.weight`), unless the layer says otherwise.
"""


def json_schema() -> str:
    """The JSON schema of a spec, as text."""
    schema = NetworkSpec.model_json_schema()
    for definition in schema["$defs"].values():
        # the tag of a union is not optional, though in Python each class has its own by default
        if "const" in definition["properties"].get("op", {}):
            definition["required"] = sorted({"op", *definition.get("required", ())})
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "cnngen network"}
    return json.dumps({**schema, **head}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def layer_reference() -> str:
    """The layer reference in Markdown: every op, its weights and its fields."""
    functions = {str(cls.model_fields["op"].default) for cls in ACTIVATIONS}
    parts = [_INTRO, "## The network\n", _doc(NetworkSpec), _table(NetworkSpec)]
    for title, model in (("An input", InputSpec), ("An output", OutputSpec), ("Precision", Precision)):
        parts += [f"### {title}\n", _doc(model), _table(model)]
    parts += ["## Fields of every layer\n", _table(LayerBase)]
    parts += ["## Ops\n"]
    for fields, ops in groupby((op for op in OPS if op not in functions), lambda op: _own_table(OPS[op])):
        parts += [*_described(list(ops)), *([fields] if fields else [])]
    parts += [
        "## Activations\n",
        "Layers of their own, and values of `activation:` in conv2d and linear: `relu`, or a mapping.\n",
    ]
    rows = [
        f"| `{cls.model_fields['op'].default}` | {_escape(_summary(cls))} | {_fields_inline(cls)} |"
        for cls in ACTIVATIONS
    ]
    parts.append("\n".join(["| op | function | fields |", "|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _own_table(layer: type[LayerBase]) -> str:
    own = [field for field in layer.field_order() if field not in LayerBase.model_fields]
    return _table(layer, own) if own else ""


def _described(ops: list[str]) -> list[str]:
    """The heading of ops whose fields are the same, and what each does."""
    if len(ops) == 1:
        return [f"### {ops[0]}\n", _doc(OPS[ops[0]])]
    rows = [f"| `{op}` | {_escape(_summary(OPS[op]))} |" for op in ops]
    heading = ", ".join(ops if len(ops) < 9 else [*ops[:3], "...", ops[-1]])
    return [f"### {heading}\n", "\n".join(["| op | meaning |", "|---|---|", *rows]) + "\n"]


def _summary(model: type[Model]) -> str:
    return " ".join((model.__doc__ or "").split()).removesuffix(".")


def _doc(model: type[Model]) -> str:
    return f"{_escape(_summary(model))}.\n"


def _table(model: type[Model], fields: Iterable[str] | None = None) -> str:
    properties = model.model_json_schema()["properties"]
    rows = [
        f"| `{name}` | {_escape(_type(properties[name]))} | {_default(model, name)} "
        f"| {_escape(model.model_fields[name].description or '')} |"
        for name in (model.model_fields if fields is None else fields)
        if name != "op"
    ]
    return "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _fields_inline(model: type[Model]) -> str:
    texts = [
        f"`{name}`: {field.description}" + (f" (default {_number(field.default)})" if field.default else "")
        for name, field in model.model_fields.items()
        if name != "op"
    ]
    return "; ".join(text.replace("; default: 1/6 (default 0.167)", " (default 1/6)") for text in texts)


def _default(model: type[Model], name: str) -> str:
    field = model.model_fields[name]
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, Precision):
        return value.storage
    if value is None or field.default_factory is not None or value == ():
        return ""
    if isinstance(value, tuple):
        return str(value[0]) if len(set(value)) == 1 else str(list(value))
    return _number(value)


def _number(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _type(schema: Schema) -> str:
    """A property's type in words."""
    if "anyOf" in schema or "oneOf" in schema:
        options = [_type(option) for option in schema.get("anyOf", schema.get("oneOf", ()))]
        return " or ".join(dict.fromkeys(option for option in options if option != "null"))
    if "$ref" in schema:
        return {"Precision": "mapping", "InputSpec": "input", "OutputSpec": "output"}.get(
            schema["$ref"].rpartition("/")[2], "mapping"
        )
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false"}
    if schema.get("type") == "array":
        length = schema.get("minItems", 0)
        if length == schema.get("maxItems"):
            return {2: "[a, b]", 4: "[a, b, c, d]"}[length]
        items = schema.get("items", {})
        item = "layer" if "oneOf" in items else _type(items)
        return f"list of {item}" if item.startswith("[") else f"list of {item.partition(' ')[0]}s"
    if schema.get("type") == "object":
        return "mapping"
    text = kind.get(str(schema.get("type")), str(schema.get("type", "value")))
    return f"{text} ≥ {schema['minimum']}" if schema.get("minimum") is not None else text


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
