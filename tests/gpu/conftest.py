"""Networks built for the GPU at hand, once a session."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

import cnngen
from cnngen.spec import NetworkSpec

from .specs import random_weights, write_spec

# Two inputs, two outputs, two batch sizes; a residual, a depthwise convolution, a concat, a linear layer.
TWO_PORTS: dict[str, Any] = {
    "name": "two_ports",
    "inputs": {
        "image": {"shape": [1, 3, 16, 16]},
        "extra": {"shape": [1, 8, 16, 16], "layout": "NHWC", "dtype": "float16"},
    },
    "precision": "float16",
    "batch_sizes": [1, 4],
    "weights": "two_ports.safetensors",
    "layers": [
        {
            "name": "a",
            "op": "conv2d",
            "input": "image",
            "out_channels": 8,
            "kernel": 3,
            "padding": 1,
            "activation": "relu",
        },
        {"name": "b", "op": "conv2d", "out_channels": 8, "kernel": 3, "padding": 1, "groups": 8},
        {"name": "sum", "op": "add", "inputs": ["b", "extra"]},
        {"name": "both", "op": "concat", "inputs": ["sum", "a"]},
        {"name": "c", "op": "conv2d", "out_channels": 8, "kernel": 1, "activation": "silu"},
        {"name": "pool", "op": "global_avg_pool", "keepdims": False},
        {"name": "fc", "op": "linear", "out_features": 5},
    ],
    "outputs": ["fc", {"layer": "c", "dtype": "float16", "layout": "NHWC"}],
}


@pytest.fixture(scope="session")
def two_ports(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    folder = tmp_path_factory.mktemp("two_ports")
    spec = NetworkSpec.model_validate(TWO_PORTS)
    path = write_spec(spec, random_weights(spec), folder)
    cnngen.build(path, folder / "generated")
    return cnngen.load(folder / "generated" / "two_ports")
