"""Random small networks of every op of the spec: what the tests of codegen draw.

`random_network` takes any random.Random. Hypothesis's own makes it a strategy, `networks()`, which shrinks
what fails; a seeded one draws the same networks for a program that runs many of them at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from cnngen.codegen.graph import Array, Graph
from cnngen.codegen.storage import NUMPY_TYPES
from cnngen.spec import NetworkSpec, dump_spec, resolve
from cnngen.spec.types import DType

from .builder import Builder
from .patterns import PATTERNS

BATCHES = ((1,), (2,), (1, 2), (1, 3))


@dataclass(frozen=True)
class Network:
    """A spec with weights that fit it."""

    spec: NetworkSpec
    weights: Mapping[str, Array]

    def __repr__(self) -> str:
        return f"\n{dump_spec(self.spec)}"

    def inputs(self, graph: Graph) -> dict[str, Array]:
        """Numbers for the graph's inputs in logical order: float64, exact in the types of the inputs."""
        found = {}
        for seed, value in enumerate(graph.inputs):
            array = np.random.default_rng(seed).normal(size=value.shape)
            found[value.name] = array.astype(NUMPY_TYPES[value.dtype]).astype(np.float64)
        return found


def networks(
    storage: DType = "float32", *, mixed: bool = True, largest: int = 7
) -> st.SearchStrategy[Network]:
    """Random networks. `mixed`: some layers and ports have their own types; `largest`: number of patterns."""
    randoms = st.randoms(use_true_random=False)
    return randoms.map(lambda rng: random_network(rng, storage, mixed=mixed, largest=largest))


def random_network(
    rng: random.Random,
    storage: DType = "float32",
    *,
    mixed: bool = True,
    largest: int = 7,
    name: str = "net",
    builder: type[Builder] = Builder,
    patterns: Sequence[Callable[[Builder], str]] = PATTERNS,
) -> Network:
    b = builder(rng, rng.choice(BATCHES), storage if not mixed else None)
    b.add_inputs()
    for _ in range(rng.randint(1, largest)):
        rng.choice(patterns)(b)
    if not b.layers:
        b.add("relu", b.pick())
    spec = NetworkSpec.model_validate(
        {
            "name": name,
            "inputs": b.inputs,
            "precision": storage,
            "batch_sizes": b.batches,
            "layers": b.layers,
            "outputs": b.outputs(),
        }
    )
    return Network(spec, random_weights(spec, rng.randrange(1 << 16)))


def network(
    *layers: Mapping[str, Any],
    shape: Sequence[int] = (1, 3, 8, 8),
    weights: Mapping[str, Array] | None = None,
    **fields: object,
) -> Network:
    """A network of one input, `x`, with random weights but for those given."""
    declared = {"name": "net", "inputs": {"x": {"shape": shape}}, "layers": layers, **fields}
    spec = NetworkSpec.model_validate(declared)
    return Network(spec, {**random_weights(spec, 0, zeros=False), **(weights or {})})


def random_weights(spec: NetworkSpec, seed: int, *, zeros: bool = True) -> dict[str, Array]:
    """Weights that keep values near 1; some are 16 bits wide, and `zeros` makes some all zero."""
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for layer in resolve(spec).layers:
        for role, ref in layer.parameters.items():
            if role == "running_var":
                array = rng.uniform(0.3, 2.0, ref.shape)
            elif role == "parameter" or layer.layer.op == "batch_norm":
                array = rng.uniform(0.5, 1.5, ref.shape) * rng.choice((-1, 1), ref.shape)
            else:
                fan_in = max(1, int(np.prod(ref.shape[1:])))
                array = rng.normal(size=ref.shape) / np.sqrt(fan_in) * (not zeros or rng.random() > 0.06)
            if ref.name not in found:
                found[ref.name] = array.astype(np.float16 if rng.random() < 0.1 else np.float32)
    return found
