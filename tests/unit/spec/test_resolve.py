# ruff: noqa: ISC004 (messages stand here as the user reads them)
"""Wiring, shapes and weights of a whole spec, and every contradiction by its exact text."""

from __future__ import annotations

from typing import Any

import pytest

from cnngen.spec import NetworkSpec, SpecError, WeightRef, resolve


def spec(*layers: dict[str, Any], **fields: object) -> NetworkSpec:
    return NetworkSpec.model_validate(
        {"name": "net", "inputs": {"image": {"shape": [1, 3, 8, 8]}}, "layers": layers, **fields}
    )


def conv(name: str, **fields: object) -> dict[str, Any]:
    return {"name": name, "op": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1, **fields}


def relu(name: str, **fields: object) -> dict[str, Any]:
    return {"name": name, "op": "relu", **fields}


def problems(network: NetworkSpec, batch: int | None = None) -> list[str]:
    with pytest.raises(SpecError) as caught:
        resolve(network, batch)
    return [str(problem) for problem in caught.value.problems]


def test_inputs_shapes_and_weights() -> None:
    both = {"name": "both", "op": "add", "inputs": ["a", "c"]}
    resolved = resolve(spec(conv("a"), relu("b", input="image"), conv("c", bias=False, weight="w"), both), 5)
    assert [(layer.layer.name, layer.inputs, layer.shape) for layer in resolved.layers] == [
        ("a", ("image",), (5, 4, 8, 8)),
        ("b", ("image",), (5, 3, 8, 8)),
        ("c", ("b",), (5, 4, 8, 8)),
        ("both", ("a", "c"), (5, 4, 8, 8)),
    ]
    assert resolved.shapes["image"] == (5, 3, 8, 8)
    assert resolved.weights == {
        "a.weight": WeightRef("a.weight", (4, 3, 3, 3)),
        "a.bias": WeightRef("a.bias", (4,)),
        "w": WeightRef("w", (4, 3, 3, 3)),
    }
    assert resolved.layers[2].parameters == {"weight": WeightRef("w", (4, 3, 3, 3))}
    assert [output.layer for output in resolved.outputs] == ["both"]
    assert resolved.batch == 5


def test_the_batch_is_the_inputs_own_by_default() -> None:
    network = spec(relu("a"), inputs={"image": {"shape": [2, 3]}})
    assert network.batch_sizes == (2,)
    assert resolve(network).batch == 2
    assert spec(relu("a"), batch_sizes=[8, 1]).batch_sizes == (1, 8)


def test_zeros_take_the_batch() -> None:
    network = spec({"name": "z", "op": "zeros", "shape": [4, 2]}, relu("a"))
    assert resolve(network, 3).shapes["a"] == (3, 4, 2)


def test_two_layers_may_share_a_weight() -> None:
    network = spec(conv("a"), conv("b", input="image", weight="a.weight", bias="a.bias"))
    assert list(resolve(network).weights) == ["a.weight", "a.bias"]


def test_a_shared_weight_has_one_shape() -> None:
    assert problems(spec(conv("a"), conv("b", weight="a.weight"))) == [
        "layer 'b': needs weight 'a.weight' as [4, 4, 3, 3], layer 'a' as [4, 3, 3, 3]"
    ]


def test_all_problems_at_once() -> None:
    network = spec(
        conv("a", groups=2),
        relu("a2", input="a"),  # behind a broken layer: no problem of its own
        relu("conv1", input="imag"),
        {"name": "cat", "op": "concat", "inputs": ["image"]},
        {"name": "sum", "op": "add"},
        {"name": "zero", "op": "zeros", "shape": [3], "input": "image"},
        relu("conv1"),
        outputs=["conv2", "image"],
    )
    assert problems(network) == [
        "layer 'conv1': layer 7 has the name of layer 3; names must be unique",
        "layer 'conv1': reads 'imag', which is neither a layer nor a network input (did you mean 'image'?)",
        "layer 'cat': concat takes at least 2 inputs, got 1 ('image'); give inputs: [a, b]",
        "layer 'sum': add takes at least 2 inputs, got 1 ('cat'); give inputs: [a, b], value or parameter",
        "layer 'zero': zeros takes no input, got 1 ('image')",
        "layer 'a': conv2d: 3 input channels cannot be split into 2 groups; input: 'image' [1, 3, 8, 8]",
        "output 'conv2' is no layer (did you mean 'conv1'?)",
        "output 'image' is a network input, not a layer",
    ]


def test_shapes_that_do_not_meet_name_both_layers() -> None:
    network = spec(conv("a", stride=2), {"name": "sum", "op": "add", "inputs": ["a", "image"]})
    assert problems(network) == [
        "layer 'sum': add: [1, 4, 4, 4] and [1, 3, 8, 8] do not broadcast: axis 1 has 4 and 3; "
        "input: 'a' [1, 4, 4, 4], 'image' [1, 3, 8, 8]"
    ]


def test_a_later_layer_cannot_be_read() -> None:
    assert problems(spec(relu("a", input="b"), relu("b", input="image"))) == [
        "layer 'a': reads 'b', which comes later; layers are listed in execution order: move 'b' up"
    ]


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ([relu("a", input="a")], "layer 'a': a cycle, each reads the next: a -> a"),
        (
            [relu("a", input="c"), relu("b"), relu("c")],
            "layer 'a': a cycle, each reads the next: a -> c -> b -> a",
        ),
    ],
)
def test_cycles(layers: list[dict[str, Any]], text: str) -> None:
    assert problems(spec(*layers)) == [text]


def test_several_inputs() -> None:
    inputs = {"x": {"shape": [2, 3, 8, 8]}, "y": {"shape": [2, 3, 1, 1]}}
    assert resolve(spec({"name": "a", "op": "mul", "inputs": ["x", "y"]}, inputs=inputs)).shapes["a"] == (
        2,
        3,
        8,
        8,
    )
    assert problems(spec(relu("a"), inputs=inputs)) == [
        "layer 'a': the first layer has to say which input it reads: x, y"
    ]
    assert problems(spec(relu("a", input="x"), inputs=inputs | {"z": {"shape": [1, 3]}})) == [
        "axis 0 of every input is the batch and must be the same, got 'x' 2, 'y' 2, 'z' 1; "
        "say batched: false where it is an axis like the others"
    ]


def test_outputs_are_batched_and_listed_once() -> None:
    fold = {"name": "fold", "op": "reshape", "shape": [-1, 8]}
    assert problems(spec(fold)) == [
        "output 'fold' has shape [24, 8]: axis 0 must be the batch, 1, or say batched: false"
    ]
    assert problems(spec(relu("a"), outputs=["a", "a"])) == ["output 'a' is listed twice"]
    flat = {"name": "flat", "op": "flatten"}
    assert problems(spec(flat, outputs=[{"layer": "flat", "layout": "NHWC"}])) == [
        "output 'flat' has shape [1, 192]: layout NHWC needs [N, C, H, W]"
    ]


def test_a_layer_may_have_an_inputs_name_no_more_than_another_layers() -> None:
    assert problems(spec(relu("image", input="image")))[0] == (
        "layer 'image': layer 1 has the name of a network input; names must be unique"
    )


def test_the_items_of_a_batch_do_not_meet() -> None:
    layers = [{"name": "a", "op": "softmax", "axis": 0}, {"name": "b", "op": "reduce_sum", "axes": [0]}]
    text = (
        "works along axis 0, the batch, whose items must not meet: take another axis, "
        "or say batched: false where axis 0 is an axis like the others"
    )
    assert problems(spec(*layers)) == [f"layer 'a': softmax: {text}", f"layer 'b': reduce_sum: {text}"]


def test_without_a_batch_axis_0_is_like_the_others() -> None:
    inputs = {"x": {"shape": [5]}, "y": {"shape": [4, 5], "dtype": "int64"}}
    network = spec(
        {"name": "sum", "op": "add", "inputs": ["x", "y"]},
        {"name": "all", "op": "reduce_sum", "axes": [0, 1], "keepdims": False},
        inputs=inputs,
        batched=False,
        outputs=["sum", "all"],
    )
    assert network.batch_sizes == (1,)
    resolved = resolve(network, 7)
    assert resolved.batch == 1
    assert dict(resolved.shapes) == {"x": (5,), "y": (4, 5), "sum": (4, 5), "all": (1,)}


def test_profiles_are_further_shapes_of_the_inputs() -> None:
    inputs = {"image": {"shape": [1, 3, 8, 8]}, "scale": {"shape": [1, 3, 1, 1]}}
    network = spec(
        {"name": "scaled", "op": "mul", "inputs": ["image", "scale"]},
        conv("a", stride=2),
        inputs=inputs,
        profiles=[{"image": [1, 3, 16, 12]}, {"image": [9, 3, 8, 9], "scale": [1, 3, 8, 1]}],
    )
    assert network.profile_count == 3
    assert [dict(resolve(network, 2, k).shapes) for k in range(3)] == [
        {"image": (2, 3, 8, 8), "scale": (2, 3, 1, 1), "scaled": (2, 3, 8, 8), "a": (2, 4, 4, 4)},
        {"image": (2, 3, 16, 12), "scale": (2, 3, 1, 1), "scaled": (2, 3, 16, 12), "a": (2, 4, 8, 6)},
        {"image": (2, 3, 8, 9), "scale": (2, 3, 8, 1), "scaled": (2, 3, 8, 9), "a": (2, 4, 4, 5)},
    ]
    assert resolve(network, profile=1).weights == resolve(network).weights


def test_profiles_without_a_batch_have_whole_shapes() -> None:
    network = spec(relu("a"), batched=False, inputs={"x": {"shape": [4, 5]}}, profiles=[{"x": [6, 5]}])
    assert resolve(network, profile=1).shapes["a"] == (6, 5)


def test_a_layer_that_does_not_fit_a_profile() -> None:
    layers = [
        conv("a"),
        {"name": "flat", "op": "flatten"},
        {"name": "fc", "op": "linear", "out_features": 10},
    ]
    assert problems(spec(*layers, profiles=[{"image": [1, 3, 9, 8]}, {"image": [1, 4, 8, 8]}])) == [
        "layer 'fc': profile 1 (image 3x9x8): needs weight 'fc.weight' as [10, 288], profile 0 as [10, 256]; "
        "profiles share their weights",
        "layer 'a': profile 2 (image 4x8x8): needs weight 'a.weight' as [4, 4, 3, 3], profile 0 as "
        "[4, 3, 3, 3]; profiles share their weights",
    ]
    fold = {"name": "fold", "op": "reshape", "shape": [0, 3, 64]}
    assert problems(spec(fold, profiles=[{"image": [1, 3, 9, 8]}])) == [
        "layer 'fold': profile 1 (image 3x9x8): reshape: [1, 3, 9, 8] has 216 elements, which do not fill "
        "[0, 3, 64]; input: 'image' [1, 3, 9, 8]"
    ]


def test_wrong_profiles() -> None:
    profiles = [
        {"image": [7, 3, 8, 8]},
        {"imag": [1, 3, 9, 9]},
        {"image": [3, 9, 9]},
        {"image": [1, 3, 8, 8]},
    ]
    assert problems(spec(relu("a"), profiles=profiles)) == [
        "profile 1 is profile 0 (the inputs' own shapes) again; the batch does not tell profiles apart",
        "profile 2: 'imag' is no network input (did you mean 'image'?); they are image",
        "profile 3: 'image' is [3, 9, 9], but [1, 3, 8, 8] in profile 0: keep its rank",
        "profile 4 is profile 0 (the inputs' own shapes) again; the batch does not tell profiles apart",
    ]
