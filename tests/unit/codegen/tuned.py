"""Plans as a lock may have them: each step by one of the engines or tiles that it can have, branches on streams of
their own or not, drawn at random.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cnngen.codegen import tiles
from cnngen.codegen.choices import Choices
from cnngen.codegen.emit.cuda_kernels import tile_options
from cnngen.codegen.engines import own_forms
from cnngen.codegen.graph import LIBRARIES
from cnngen.codegen.graph_text import step_digest
from cnngen.codegen.passes.plan_streams import branches
from cnngen.codegen.plan import BatchPlan, Plan, make_plan
from cnngen.codegen.titles import titles_of
from cnngen.spec.types import DType

from .networks import BATCHES, Network, network

REWRITES = (
    "reorder",
    "merge_siblings",
    "fold_channels",
    "fuse_squeeze_excite",
    "fuse_max_pools",
    "pad_channels",
    "fuse_epilogues",
    "place_concats",
    "place_splits",
    "store_phases",
    "channels_first",
    "fuse_softmax",
)
ACTIVATIONS = ("relu", "relu6", "silu", "mish", {"op": "leaky_relu", "slope": 0.2}, None)


def tuned_plan(drawn: Network, seed: int, forms: Mapping[str, int] | None = None) -> Plan:
    """`forms`: the number of the option that a rewrite's sites take; of others it is drawn."""
    rng = random.Random(seed)  # noqa: S311 (a seed that repeats)
    every = {name: rng.randrange(3) for name in REWRITES} | dict(forms or {})
    choices = Choices(every=every)
    first = make_plan(drawn.spec, drawn.weights, choices=lambda _profile, _batch: choices)
    engines = {(batch.profile, batch.batch): random_engines(batch, rng) for batch in first.batches}
    known = dict.fromkeys(branch.name for batch in first.batches for branch in branches(batch.graph))
    beside = frozenset(name for name in known if rng.random() < 0.5)
    return make_plan(
        drawn.spec,
        drawn.weights,
        choices=lambda profile, batch: replace(choices, engines=engines[profile, batch], beside=beside),
    )


def random_engines(batch: BatchPlan, rng: random.Random) -> dict[str, tuple[str, str]]:
    titles, engines = titles_of(batch.graph), {}
    for node in batch.steps:
        kind, digest = "tile", step_digest(node, batch.graph)
        if node.form in LIBRARIES and own_forms(node, batch.graph):
            kind = rng.choice(own_forms(node, batch.graph))
            node = replace(node, form=kind)
        options = tile_options(node, batch.graph, batch.batch)
        if options:
            engines[titles[node.name]] = (f"{kind} {tiles.tile_text(rng.choice(options))}", digest)
    return engines


def convolutional_network(seed: int, storage: DType) -> Network:
    """Convolutions on channels in groups of 16 bytes, of all geometries, with all that may follow them."""
    rng = random.Random(seed)  # noqa: S311
    h, w, channels = rng.randint(5, 14), rng.randint(5, 14), 8 * rng.randint(1, 3)
    shape = (1, channels, h, w)
    layers: list[dict[str, Any]] = []
    for number in range(rng.randint(2, 5)):
        if rng.random() < 0.3:
            layers.append({"name": f"up{number}", "op": "upsample", "scale": rng.choice((2, [1, 2]))})
        layer = {"name": f"c{number}", **_convolution(rng, channels, last=h < 5 or w < 5)}
        channels = layer["out_channels"]
        layers.append(layer)
        if rng.random() < 0.4 and layer["kernel"] == 3 and layer["stride"] == 1:
            again = {
                **layer,
                "name": f"d{number}",
                "padding": "same",
                "dilation": 1,
                "kernel": 1,
                "groups": 1,
            }
            layers.append(again)
            both = [f"c{number}", f"d{number}"]
            if rng.random() < 0.5:
                layers.append({"name": f"sum{number}", "op": "add", "inputs": both})
            else:
                layers.append({"name": f"both{number}", "op": "concat", "inputs": both})
                channels *= 2
    if rng.random() < 0.5:
        layers += [
            {"name": "pool", "op": "global_avg_pool", "keepdims": False},
            {"name": "fc", "op": "linear", "out_features": rng.choice((5, 16, 10))},
            {"name": "prob", "op": rng.choice(("softmax", "relu"))},
        ]
    batches = rng.choice(BATCHES)
    shape = (batches[0], *shape[1:])
    return network(*layers, shape=shape, precision=storage, batch_sizes=batches, name=f"tuned{seed}")


def _convolution(rng: random.Random, channels: int, *, last: bool) -> dict[str, Any]:
    kernel = rng.choice((1, 1, 3, 3, 5))
    fields = {
        "op": "conv2d",
        "out_channels": rng.choice((8, 16, 24, 40, 20, 5)) if last else 8 * rng.randint(1, 6),
        "kernel": kernel,
        "stride": rng.choice((1, 1, 2)),
        "padding": kernel // 2,
        "groups": 1,
        "bias": rng.random() < 0.8,
    }
    if kernel == 3 and rng.random() < 0.2:
        fields |= {"dilation": 2, "padding": 2}
    if rng.random() < 0.15:
        fields |= {"groups": channels, "out_channels": channels}
    activation = rng.choice(ACTIVATIONS)
    return fields if activation is None else fields | {"activation": activation}
