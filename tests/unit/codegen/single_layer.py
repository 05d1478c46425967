"""One layer as a network: its lowering, before and after the passes, against the op's own definition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cnngen.codegen import passes
from cnngen.codegen.graph import Array
from cnngen.codegen.interpret import outputs
from cnngen.codegen.lower import lower
from cnngen.codegen.ops import OPS as RULES
from cnngen.codegen.verify import verify
from cnngen.spec import NetworkSpec, check_weights, resolve
from cnngen.spec.ops import OPS


def data(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def check(
    op: str, fields: Mapping[str, Any], *inputs: Array, batched: bool = False, **weights: Array
) -> Array:
    """A network of that layer alone, before and after the passes, is what the op's definition says; its value."""
    names = [f"x{k}" for k in range(len(inputs))]
    layer = OPS[op].model_validate({"name": "layer", "op": op, **fields})
    declared = names or ["unused"]
    spec = NetworkSpec.model_validate(
        {
            "name": "net",
            "batched": batched,
            "inputs": {
                name: {"shape": array.shape}
                for name, array in zip(declared, inputs or [np.zeros(1)], strict=True)
            },
            "layers": [{"name": "layer", "op": op, **fields, "inputs": names or None}],
        }
    )
    exact = {role: array.astype(np.float64) for role, array in weights.items()}
    sources = [array.astype(np.float64) for array in inputs]
    rule_inputs = [array.shape for array in inputs] or [()]
    want = RULES[op].reference(layer, sources, exact, layer.output_shape(rule_inputs))
    assert want.shape == layer.output_shape(rule_inputs)
    named = {layer.weight_name(role): array for role, array in weights.items()}
    check_weights(resolve(spec), named)
    graph = lower(spec, named, inputs[0].shape[0] if batched else 1)
    verify(graph)
    values = dict(zip((value.name for value in graph.inputs), sources, strict=False))
    for made in (graph, passes.run(graph)):
        (got,) = outputs(made, values).values()
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    return want
