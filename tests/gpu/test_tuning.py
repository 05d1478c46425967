"""Tuning on the GPU at hand: the lock is whole, and what is built from it computes the same from its own plans."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnngen
from cnngen.codegen import passes
from cnngen.codegen.choices import Choices
from cnngen.codegen.interpret import outputs
from cnngen.codegen.lock import Lock
from cnngen.codegen.lower import lower
from cnngen.codegen.tuning.tune import Tuned, tune
from cnngen.spec import NetworkSpec

from .specs import random_weights, write_spec

SMOOTH: dict[str, Any] = {"op": "conv2d", "kernel": 3, "padding": 1, "activation": "silu"}
# A place for each rewrite that has a choice: a stem, siblings, repeated pixels before a 1x1 and before a 5x5, a
# concatenation.
NETWORK: dict[str, Any] = {
    "name": "tuned",
    "inputs": {"image": {"shape": [1, 3, 32, 32]}},
    "precision": "float16",
    "batch_sizes": [1, 4],
    "weights": "tuned.safetensors",
    "layers": [
        {"name": "stem", **SMOOTH, "out_channels": 32, "stride": 2},
        {"name": "gamma", **SMOOTH, "out_channels": 32, "activation": None},
        {"name": "beta", **SMOOTH, "input": "stem", "out_channels": 32, "activation": None},
        {"name": "scaled", "op": "mul", "inputs": ["stem", "gamma"]},
        {"name": "shifted", "op": "add", "inputs": ["scaled", "beta"]},
        {"name": "twice", "op": "upsample", "scale": 2},
        {"name": "point", **SMOOTH, "out_channels": 24, "kernel": 1, "padding": 0},
        {"name": "down", "op": "max_pool2d", "kernel": 2},
        {"name": "again", "op": "upsample", "scale": 2},
        {"name": "wide", **SMOOTH, "out_channels": 16, "kernel": 5, "padding": 2},
        {"name": "side", **SMOOTH, "out_channels": 16},
        {"name": "both", "op": "concat", "inputs": ["wide", "side"]},
        {"name": "last", **SMOOTH, "out_channels": 16, "activation": "relu"},
        {"name": "mean", "op": "global_avg_pool", "keepdims": False},
        {"name": "fc", "op": "linear", "out_features": 10},
    ],
    "outputs": ["last", "fc"],
}


@pytest.fixture(scope="module")
def spec() -> NetworkSpec:
    return NetworkSpec.model_validate(NETWORK)


@pytest.fixture(scope="module")
def weights(spec: NetworkSpec) -> Mapping[str, Any]:
    return random_weights(spec)


@pytest.fixture(scope="module")
def path(spec: NetworkSpec, weights: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spec(spec, weights, tmp_path_factory.mktemp("tuned"))


@pytest.fixture(scope="module")
def tuned(path: Path, spec: NetworkSpec, weights: Mapping[str, Any]) -> Tuned:
    return tune(path, spec, weights)


def test_every_step_with_a_choice_is_locked(
    tuned: Tuned, spec: NetworkSpec, weights: Mapping[str, Any]
) -> None:
    sites = passes.run(lower(spec, weights, 1), Choices()).sites
    assert {site.rewrite for site in sites} == {
        "reorder",
        "merge_siblings",
        "fold_channels",
        "pad_channels",
        "fuse_epilogues",
        "place_concats",
        "store_phases",
    }
    assert tuned.lock.plans.keys() == {"batch1", "batch4"}
    for plan in tuned.lock.plans.values():
        assert plan.steps
        assert 0 < plan.us <= plan.first_us * 1.05
        # Others may be gone once one was chosen: what is merged has no epilogue to fuse.
        assert {"fold_channels", "pad_channels"} <= {key.split()[0] for key in plan.forms}


def test_outputs_stay_close_to_those_of_every_first_choice(tuned: Tuned) -> None:
    """Both round; neither is the reference."""
    for difference in tuned.differences.values():
        assert 0 < difference.engines < 5e-3
        assert difference.order < 1e-3
    assert tuned.rejected == ()


def test_what_is_built_from_the_lock_computes_the_network_and_starts_from_its_plans(
    tuned: Tuned, path: Path, spec: NetworkSpec, weights: Mapping[str, Any]
) -> None:
    out = path.parent / "generated"
    cnngen.build(path, out)
    source = (out / "tuned" / "src" / "network.cu").read_text()
    assert f"tuned for {tuned.lock.machine['gpu']}" in source
    module = cnngen.load(out / "tuned")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of an engine that is not there
        net = module.Network(plan_cache="")
    image = np.random.default_rng(1).standard_normal((4, 3, 32, 32), np.float32)
    for batch in (1, 4):
        graph = lower(spec, weights, batch)
        rounded = image[:batch].astype(np.float16).astype(np.float64)
        wanted = outputs(graph, {graph.inputs[0].name: rounded})
        for got, want in zip(net(image[:batch]), wanted.values(), strict=True):
            error = np.linalg.norm(got.astype(np.float64).reshape(want.shape) - want) / np.linalg.norm(want)
            assert error < 3e-3


def engines(lock: Lock) -> dict[tuple[str, str], str]:
    found = {}
    for name, plan in lock.plans.items():
        found |= {(name, step): entry.engine for step, entry in plan.steps.items()}
        found |= {(name, site): entry.chosen for site, entry in plan.forms.items()}
    return found


def test_a_second_run_makes_the_same_choices(
    tuned: Tuned, path: Path, spec: NetworkSpec, weights: Mapping[str, Any]
) -> None:
    first, second = engines(tuned.lock), engines(tune(path, spec, weights).lock)
    differing = [key for key in first.keys() | second.keys() if first.get(key) != second.get(key)]
    assert len(differing) <= max(1, len(first) // 20), differing
