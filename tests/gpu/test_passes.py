"""Passes, whose kernels begin before those before them have ended, against a trace, which waits for each step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import cnngen
from cnngen.spec import NetworkSpec

from .specs import random_weights, write_spec


def chain(length: int) -> NetworkSpec:
    """Convolutions of one map, each of which adds, behind its sum, what the step before it has written."""

    def conv(dilation: int, **more: str | int) -> dict[str, Any]:
        around = {"kernel": 3, "padding": dilation, "dilation": dilation}
        return {"op": "conv2d", "out_channels": 512, **around, **more}

    layers = [conv(1, name="map", out_channels=128, activation="relu"), conv(1, name="x0", input="image")]
    for k in range(length):
        layers += [
            conv(k + 1, name=f"conv{k}", input="map"),
            {"name": f"add{k}", "op": "add", "inputs": [f"x{k}", f"conv{k}"]},
            {"name": f"x{k + 1}", "op": "relu"},
        ]
    return NetworkSpec.model_validate(
        {
            "name": "chain",
            "inputs": {"image": {"shape": [1, 64, 32, 64], "layout": "NHWC", "dtype": "float16"}},
            "precision": "float16",
            "weights": "chain.safetensors",
            "layers": layers,
        }
    )


def test_passes_compute_what_a_trace_does(tmp_path: Path) -> None:
    spec = chain(8)
    path = write_spec(spec, random_weights(spec), tmp_path)
    cnngen.build(path, tmp_path / "generated")
    net = cnngen.load(tmp_path / "generated" / "chain").Network()
    rng = np.random.default_rng()
    for _ in range(20):
        image = rng.standard_normal((1, 32, 64, 64)).astype(np.float16)
        wanted = net.trace(image)["x8"].astype(np.float64)
        got = np.asarray(net(image), np.float64)
        assert np.linalg.norm(got - wanted) <= 2e-3 * np.linalg.norm(wanted)
