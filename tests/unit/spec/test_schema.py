"""The models, the JSON schema and the docs' layer reference say the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnngen.spec.network import InputSpec, NetworkSpec, OutputSpec
from cnngen.spec.ops import ACTIVATIONS, OPS
from cnngen.spec.schema import json_schema, layer_reference

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.mark.parametrize(("name", "generate"), [("schema.json", json_schema), ("layers.md", layer_reference)])
def test_what_is_committed_is_what_the_models_say(
    name: str, generate: Callable[[], str], update_golden: bool
) -> None:
    if update_golden:
        (DOCS / name).write_text(generate(), encoding="utf-8")
    committed = (DOCS / name).read_text(encoding="utf-8")
    assert committed == generate(), f"docs/{name} is out of date; pytest --update-golden takes it over"


def test_the_schema_knows_every_op_and_field() -> None:
    definitions = json.loads(json_schema())["$defs"]
    layers = json.loads(json_schema())["properties"]["layers"]["items"]["discriminator"]["mapping"]
    assert set(layers) == set(OPS)
    for op, cls in OPS.items():
        definition = definitions[layers[op].rpartition("/")[2]]
        assert set(definition["properties"]) == set(cls.model_fields)
        assert definition["properties"]["op"]["const"] == op
        assert {"name", "op"} <= set(definition["required"])
        assert definition["additionalProperties"] is False


@pytest.mark.parametrize("model", [*OPS.values(), *ACTIVATIONS, NetworkSpec, InputSpec, OutputSpec])
def test_every_model_and_field_is_described(model: Any) -> None:  # noqa: ANN401
    assert model.__doc__
    for name, field in model.model_fields.items():
        assert name == "op" or field.description, f"{model.__name__}.{name} has no description"


def test_the_reference_names_every_op_and_field() -> None:
    text = layer_reference()
    for op, cls in OPS.items():
        assert f"### {op}\n" in text or f"| `{op}` |" in text
        for field in cls.model_fields:
            assert field == "op" or f"`{field}`" in text
