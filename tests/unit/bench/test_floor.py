"""bench/floor.py: bytes and FLOP of a plan's steps, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from floor import Rates, Work, floor_of, step_work

from cnngen.codegen.plan import BatchPlan, make_plan
from cnngen.spec import NetworkSpec, resolve

Layers = list[dict[str, Any]]


def plan(layers: Layers, shape: tuple[int, ...], batch: int = 1) -> BatchPlan:
    """In float16; inputs and outputs are float16 and channels-last too."""
    last = {} if layers[-1]["op"] == "linear" else {"layout": "NHWC"}
    spec = NetworkSpec.model_validate(
        {
            "name": "net",
            "inputs": {"x": {"shape": shape, "dtype": "float16", "layout": "NHWC"}},
            "precision": "float16",
            "batch_sizes": [batch],
            "weights": "net.safetensors",
            "layers": layers,
            "outputs": [{"layer": layers[-1]["name"], "dtype": "float16", **last}],
        }
    )
    rng = np.random.default_rng(0)
    weights = {
        name: rng.standard_normal(known.shape, np.float32) for name, known in resolve(spec).weights.items()
    }
    return make_plan(spec, weights).batches[0]


def conv(name: str = "conv", **fields: object) -> dict[str, object]:
    return {"name": name, "op": "conv2d", "out_channels": 32, "kernel": 3, "padding": 1} | fields


def steps(plan: BatchPlan) -> dict[str, Work]:
    """Every step's work by its name; copies from and to the caller's memory are steps too."""
    return {node.name: step_work(plan.graph, node) for node in plan.steps}


def test_a_convolution_reads_input_and_weights_and_writes_its_result() -> None:
    found = plan([conv(activation="relu")], (1, 16, 8, 8), batch=2)
    x, y, weights = 2 * 8 * 8 * 16 * 2, 2 * 8 * 8 * 32 * 2, (32 * 16 * 9 + 32) * 2
    work = Work(x + weights + y, 2 * 2 * 8 * 8 * 32 * 16 * 9)
    assert steps(found) == {"x": Work(2 * x, 0), "conv": work, "conv@output": Work(2 * y, 0)}
    floor = floor_of(found, Rates(bytes=1e9, flop=1e30))
    assert floor.network == work
    assert floor.network_s == pytest.approx(work.bytes / 1e9)
    assert floor.layers_s == pytest.approx((work.bytes + 2 * x + 2 * y) / 1e9)


def test_the_larger_of_both_counts() -> None:
    rates = Rates(bytes=100.0, flop=10.0)
    assert rates.seconds(Work(200, 10)) == 2.0
    assert rates.seconds(Work(200, 50)) == 5.0


def test_the_floor_by_layers_takes_the_larger_of_both_for_each() -> None:
    found = plan([conv()], (1, 16, 8, 8))
    x, work, y = steps(found).values()
    floor = floor_of(found, Rates(bytes=1.0, flop=1.0))  # arithmetic takes longer in the convolution alone
    assert work.flop > work.bytes
    assert floor.layers_s == x.bytes + work.flop + y.bytes
    assert floor.network_s == work.flop


def test_a_residual_is_read_and_what_is_fused_moves_nothing() -> None:
    layers = [
        conv("a", out_channels=16),
        conv("b", out_channels=16),
        {"name": "sum", "op": "add", "inputs": ["b", "x"]},
        {"name": "relu", "op": "relu"},
    ]
    found = steps(plan(layers, (1, 16, 8, 8)))
    assert list(found) == ["x", "a", "relu", "relu@output"]
    assert found["relu"].bytes - found["a"].bytes == 16 * 8 * 8 * 2


@pytest.mark.parametrize("channels", [3, 4])
def test_padded_channels_count_for_nothing(channels: int) -> None:
    found = plan([conv(kernel=7, padding=3, stride=2)], (1, channels, 64, 64), batch=8)
    assert any(node.value.padding for node in found.steps) == (channels == 3)
    floor = floor_of(found, Rates(1e9, 1e30))
    assert floor.network.flop == 2 * 8 * 32 * 32 * 32 * channels * 49
    weights = (32 * 4 * 49 + 32) * 2  # the filter's zeros are read
    assert steps(found)["conv"].bytes == 8 * (64 * 64 * channels + 32 * 32 * 32) * 2 + weights


def test_a_stride_beyond_the_window_skips_pixels() -> None:
    found = steps(plan([conv(kernel=1, padding=0, stride=2)], (1, 16, 8, 8)))
    assert found["conv"].bytes == (4 * 4 * 16 + 4 * 4 * 32 + 32 * 16 + 32) * 2


def test_a_slice_reads_what_it_takes() -> None:
    layers = [{"name": "cut", "op": "slice", "axes": [2], "starts": [0], "ends": [2]}]
    (work,) = steps(plan(layers, (1, 16, 8, 8))).values()
    assert work == Work(2 * (2 * 8 * 16) * 2, 0)


def test_views_are_no_steps() -> None:
    layers = [
        {"name": "mean", "op": "global_avg_pool"},
        {"name": "flat", "op": "flatten"},
        {"name": "fc", "op": "linear", "out_features": 10},
    ]
    found = steps(plan(layers, (1, 16, 8, 8)))
    assert "flat" not in found
    assert found["fc"] == Work((16 + 10 * 16 + 10 + 10) * 2, 2 * 10 * 16)
