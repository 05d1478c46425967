"""Passes as a lock may have them against those without: kernels that begin before those before them have ended,
branches beside each other, channels first, a softmax with its product.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import cnngen
from cnngen.codegen.build import build_project
from cnngen.codegen.generate import plan_spec
from cnngen.codegen.passes.plan_streams import branches
from cnngen.codegen.project import generate_project
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


def blocks(count: int, precision: str) -> NetworkSpec:
    """Blocks of four branches, as Inception has them; each of the maps is read by a library's steps and by kernels."""

    def conv(kernel: int, **more: str | int) -> dict[str, Any]:
        return {
            "op": "conv2d",
            "out_channels": 64,
            "kernel": kernel,
            "padding": kernel // 2,
            "activation": "relu",
            **more,
        }

    layers = [conv(3, name="stem")]
    last = "stem"
    for k in range(count):
        layers += [
            conv(1, name=f"a{k}", input=last),
            conv(1, name=f"b{k}", input=last),
            conv(3, name=f"bb{k}"),
            conv(1, name=f"c{k}", input=last, out_channels=32),
            conv(5, name=f"cc{k}"),
            {"name": f"d{k}", "op": "max_pool2d", "kernel": 3, "stride": 1, "padding": 1, "input": last},
            conv(1, name=f"dd{k}"),
            {"name": f"all{k}", "op": "concat", "inputs": [f"a{k}", f"bb{k}", f"cc{k}", f"dd{k}"]},
            {"name": f"sum{k}", "op": "add", "inputs": [f"all{k}", f"all{k - 1}"]}
            if k
            else {"name": "sum0", "op": "silu"},
        ]
        last = f"sum{k}"
    return NetworkSpec.model_validate(
        {
            "name": f"blocks_{precision}",
            "inputs": {"image": {"shape": [1, 16, 28, 28], "layout": "NHWC", "dtype": precision}},
            "precision": precision,
            "weights": "blocks.safetensors",
            "layers": layers,
        }
    )


def built(path: Path, locked: str, folder: Path) -> Any:  # noqa: ANN401
    """The network by first choices and what a lock's plan says."""
    lock = folder / "given.lock.yaml"
    lock.write_text(
        f"cnngen: '0'\nmachine: {{}}\nplans:\n  batch1:\n    us: 1\n    first_us: 1\n{locked}    steps: {{}}\n"
    )
    project = generate_project(path, folder / "locked", lock=lock)
    build_project(project)
    return cnngen.load(project).Network()


def test_branches_beside_each_other_compute_what_a_trace_does(tmp_path: Path) -> None:
    spec = blocks(3, "float16")
    path = write_spec(spec, random_weights(spec), tmp_path)
    names = [branch.name for branch in branches(plan_spec(path).batches[0].graph)]
    assert len(names) >= 6
    net = built(path, f"    beside: {names}\n", tmp_path)
    rng = np.random.default_rng()
    for _ in range(50):
        image = rng.standard_normal((1, 28, 28, 16)).astype(np.float16)
        wanted = net.trace(image)["sum2"].astype(np.float64)
        got = np.asarray(net(image), np.float64)
        assert np.linalg.norm(got - wanted) <= 1e-5 * np.linalg.norm(wanted)


def test_channels_first_compute_what_channels_last_do(tmp_path: Path) -> None:
    spec = blocks(2, "float32")
    weights = random_weights(spec)
    path = write_spec(spec, weights, tmp_path)
    sites = [site for site in plan_spec(path).batches[0].graph.sites if site.rewrite == "channels_first"]
    assert len(sites) >= 8
    forms = "".join(f"      channels_first {site.layer}: {{chosen: first, us: {{}}}}\n" for site in sites)
    turned = built(path, f"    forms:\n{forms}", tmp_path)
    last = spec.model_copy(update={"name": "channels_last"})
    cnngen.build(write_spec(last, weights, tmp_path / "last"), tmp_path / "generated")
    net = cnngen.load(tmp_path / "generated" / last.name).Network()
    image = np.random.default_rng().standard_normal((1, 28, 28, 16)).astype(np.float32)
    wanted, got = (np.asarray(each(image), np.float64) for each in (net, turned))
    assert np.linalg.norm(got - wanted) <= 1e-5 * np.linalg.norm(wanted)


def check_form(
    layers: list[dict[str, Any]], outputs: list[str], rewrite: str, option: str, folder: Path
) -> None:
    """All sites of a rewrite with that option, and all without, on an image of 64x30x50."""

    def spec(name: str) -> NetworkSpec:
        return NetworkSpec.model_validate(
            {
                "name": f"{rewrite}_{name}",
                "inputs": {"image": {"shape": [1, 64, 30, 50], "layout": "NHWC", "dtype": "float16"}},
                "precision": "float16",
                "weights": "weights.safetensors",
                "layers": layers,
                "outputs": outputs,
            }
        )

    weights = random_weights(spec("chosen"))
    path = write_spec(spec("chosen"), weights, folder)
    sites = [site for site in plan_spec(path).batches[0].graph.sites if site.rewrite == rewrite]
    assert sites
    assert all(option in site.options for site in sites)
    forms = "".join(f"      {rewrite} {site.layer}: {{chosen: {option}, us: {{}}}}\n" for site in sites)
    chosen = built(path, f"    forms:\n{forms}", folder)
    others = write_spec(spec("otherwise"), weights, folder / "otherwise")
    cnngen.build(others, folder / "generated")
    otherwise = cnngen.load(folder / "generated" / spec("otherwise").name).Network()
    image = np.random.default_rng().standard_normal((1, 30, 50, 64)).astype(np.float16)
    for name in outputs:
        wanted, got = (
            np.asarray(y if len(outputs) == 1 else getattr(y, name), np.float64)
            for y in (otherwise(image), chosen(image))
        )
        assert np.linalg.norm(got - wanted) <= 2e-3 * np.linalg.norm(wanted)


def test_a_softmax_with_its_product_computes_what_both_do(tmp_path: Path) -> None:
    conv = {"op": "conv2d", "kernel": 3, "padding": 1}
    layers = [
        {"name": "map", **conv, "out_channels": 128, "activation": "relu"},
        {"name": "classes", **conv, "out_channels": 21},
        {"name": "shares", "op": "softmax", "axis": 1},
        {"name": "mean", "op": "global_avg_pool", "input": "map", "keepdims": False},
        {"name": "scores", "op": "linear", "out_features": 200},
        {"name": "chances", "op": "log_softmax"},
    ]
    check_form(layers, ["shares", "chances"], "fuse_softmax", "fused", tmp_path)


def test_squeeze_and_excitation_as_one_step_computes_what_all_do(tmp_path: Path) -> None:
    one, last, layers = {"op": "conv2d", "kernel": 1}, "image", []
    for kernel, stride in ((3, 1), (5, 2), (7, 1)):
        filters = {"kernel": kernel, "padding": kernel // 2, "stride": stride, "groups": 96}
        of = f"{kernel}"
        layers += [
            {"name": f"wide{of}", **one, "out_channels": 96, "activation": "silu", "input": last},
            {"name": f"map{of}", **one, **filters, "out_channels": 96, "activation": "silu"},
            {"name": f"mean{of}", "op": "global_avg_pool"},
            {"name": f"few{of}", **one, "out_channels": 6, "activation": "relu"},
            {"name": f"gate{of}", **one, "out_channels": 96, "activation": "sigmoid"},
            {"name": f"scaled{of}", "op": "mul", "inputs": [f"map{of}", f"gate{of}"]},
            {"name": f"narrow{of}", **one, "out_channels": 64},
        ]
        last = f"narrow{of}"
    check_form(layers, ["narrow7"], "fuse_squeeze_excite", "fused_scaled", tmp_path)
