"""The weight slab and its file: equal tensors once, aligned, and read back by safetensors as they were planned."""

from __future__ import annotations

import json
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from hypothesis import given, settings

from cnngen.codegen.passes.plan_weights import WeightTable, layout_fingerprint
from cnngen.codegen.plan import Plan, make_plan
from cnngen.codegen.storage import to_memory
from cnngen.codegen.weight_file import write_weight_file

from .networks import Network, network, networks
from .test_networks import SETTINGS

NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
CONV = {"op": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}


def planned(drawn: Network) -> Plan:
    return make_plan(drawn.spec, drawn.weights)


def file_of(table: WeightTable) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.weights.safetensors"
        write_weight_file(table, path)
        return path.read_bytes()


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and payload."""
    length = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    return header, data[8 + length :]


def check_table(plan: Plan) -> None:
    end, seen = 0, set()
    for tensor in plan.weights.tensors:
        assert tensor.offset == end
        assert tensor.bytes == tensor.data.nbytes > 0
        end += -(-tensor.bytes // 256) * 256
        seen.add((tensor.dtype, tensor.data.shape, tensor.data.tobytes()))
    assert plan.weights.bytes == end
    assert len(seen) == len({tensor.name for tensor in plan.weights.tensors}) == len(plan.weights.tensors)
    used = set()
    for batch in plan.batches:
        assert batch.weights.keys() == batch.graph.constants.keys()
        for name, tensor in batch.weights.items():
            constant = batch.graph.constants[name]
            assert tensor.dtype == constant.value.dtype
            assert tensor.data.tobytes() == to_memory(constant.array, constant.value).tobytes()
            used.add(tensor.name)
    assert used == {tensor.name for tensor in plan.weights.tensors}


def check_file(table: WeightTable) -> None:
    data = file_of(table)
    header, payload = split(data)
    assert (len(data) - len(payload)) % 256 == 0
    assert len(payload) == table.bytes
    assert header.pop("__metadata__") == {
        "format": "cnngen",
        "layout": layout_fingerprint(table),
        "crc32": f"{zlib.crc32(payload):08x}",
    }
    found = dict(safetensors.deserialize(data))
    assert found.keys() == header.keys()
    for tensor in table.tensors:
        read = found.pop(tensor.name)
        assert (read["dtype"], tuple(read["shape"])) == (NAMES[tensor.dtype], tensor.shape)
        assert bytes(read["data"]) == tensor.data.tobytes()
        assert payload[tensor.offset : tensor.offset + tensor.bytes] == tensor.data.tobytes()
    for name, gap in found.items():
        assert name.startswith(".pad.")
        assert gap["dtype"] == "U8"
        assert not any(gap["data"])


@given(networks("float16"))
@settings(SETTINGS, max_examples=100)
def test_slab_and_file_hold_every_weight_once(drawn: Network) -> None:
    plan = planned(drawn)
    check_table(plan)
    check_file(plan.weights)


def test_equal_weights_are_stored_once() -> None:
    filters = np.random.default_rng(1).normal(size=(4, 4, 3, 3)).astype(np.float32)
    layers = ({"name": "a", **CONV}, {"name": "b", **CONV, "bias": False}, {"name": "c", **CONV, "bias": "a.bias"},
              {"name": "d", **CONV, "bias": False, "precision": "float16"})  # fmt: skip
    given_weights = {f"{name}.weight": filters for name in "abcd"}
    plan = planned(network(*layers, shape=(1, 4, 8, 8), weights=given_weights, batch_sizes=[1, 2]))
    check_table(plan)
    assert [(t.name, t.shape, t.dtype) for t in plan.weights.tensors] == [
        ("a.weight", (4, 3, 3, 4), "float32"),
        ("a.bias", (4,), "float32"),
        ("d.weight", (4, 3, 3, 4), "float16"),
    ]


def test_filters_lie_as_their_kernels_read_them() -> None:
    layers = ({"name": "dense", **CONV}, {"name": "depthwise", **CONV, "groups": 4, "bias": False},
              {"name": "fc", "op": "linear", "out_features": 5, "bias": False})  # fmt: skip
    drawn = network(*layers, shape=(1, 3, 8, 8))
    packed = {tensor.name: tensor.data for tensor in planned(drawn).weights.tensors}
    assert np.array_equal(
        packed["dense.weight"], drawn.weights["dense.weight"].transpose(0, 2, 3, 1)
    )  # K R S C
    assert np.array_equal(
        packed["depthwise.weight.rsc"][:, :, 0], drawn.weights["depthwise.weight"][:, 0].transpose(1, 2, 0)
    )
    assert np.array_equal(packed["fc.weight"], drawn.weights["fc.weight"])


def test_the_fingerprint_is_of_the_layout_not_of_the_values() -> None:
    one = planned(network({"name": "a", **CONV})).weights
    assert len(layout_fingerprint(one)) == 16
    weights = {"a.weight": np.full((4, 3, 3, 3), 0.25, np.float32)}
    assert layout_fingerprint(
        planned(network({"name": "a", **CONV}, weights=weights)).weights
    ) == layout_fingerprint(one)
    for other in (
        {"name": "b"},
        {"kernel": 5},
        {"out_channels": 5},
        {"precision": "float16"},
        {"bias": False},
    ):
        changed = planned(network({"name": "a", **CONV, **other})).weights
        assert layout_fingerprint(changed) != layout_fingerprint(one)


def test_a_weight_may_have_a_name_of_the_file_format() -> None:
    add = {"op": "add", "parameter_shape": [1, 3, 8, 8]}
    names = ("__metadata__", ".pad.1", ".pad.2")
    layers = [{"name": f"l{i}", **add, "parameter": name} for i, name in enumerate(names)]
    plan = planned(network(*layers, {"name": "fc", "op": "linear", "out_features": 3, "bias": False}))
    assert len(plan.weights.tensors) == 4
    check_file(plan.weights)


def test_a_network_without_weights_has_an_empty_slab() -> None:
    plan = planned(network({"name": "a", "op": "relu"}))
    assert plan.weights.bytes == 0
    check_file(plan.weights)
