# ruff: noqa: ISC004 (messages stand here as the user reads them)
"""Weight files: what is written is read back, what is damaged or does not fit is said at once."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnngen.spec import NetworkSpec, WeightError, check_weights, load_weights, resolve, save_weights
from cnngen.spec.manifest import Array, format_manifest, parse_manifest

KINDS = ["w.safetensors", "w.manifest", "w.txt"]
TENSORS: dict[str, Array] = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a.bias": np.ones(3, ml_dtypes.bfloat16),
    "bn.running_mean": np.zeros(5, np.float16),
    "lone": np.full((), 2, np.float32),
    "empty.weight": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(tmp_path: Path, kind: str) -> None:
    save_weights(tmp_path / "deep" / kind, TENSORS)
    found = load_weights(tmp_path / "deep" / kind)
    assert sorted(found) == sorted(TENSORS)
    assert len(found) == len(TENSORS)
    for name, array in TENSORS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert "other" not in found
    with pytest.raises(KeyError):
        found["other"]
    assert {path.suffix for path in (tmp_path / "deep").iterdir()} <= {Path(kind).suffix, ".bin"}


def test_the_manifest_is_the_text_that_is_promised(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.manifest", TENSORS)
    assert (tmp_path / "w.manifest").read_text(encoding="utf-8") == (
        "name,type,offset,size,shape\n"
        "a,weights,0,48,3,4\n"
        "a,biases:bfloat16,48,6,3\n"
        "bn,running_mean:float16,64,10,5\n"
        "lone,tensor,80,4\n"
        "empty,weights,96,0,0,3\n"
    )


def test_a_manifest_by_hand(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text(
        "# spade\nconv1, Weights, 0, 16, 1, 1, 2, 2\n\nconv1,Biases,16,4,1\n", encoding="utf-8"
    )
    (tmp_path / "m.bin").write_bytes(np.arange(5, dtype="<f4").tobytes())
    found = load_weights(tmp_path / "m.txt")
    assert found["conv1.weight"].tolist() == [[[[0, 1], [2, 3]]]]
    assert found["conv1.bias"].tolist() == [4]


_names = st.text(st.characters(exclude_categories=("C",)), min_size=1).filter(lambda name: name.isprintable())
_tensor = st.tuples(
    st.lists(st.integers(0, 3), max_size=4), st.sampled_from([np.float32, np.float16, ml_dtypes.bfloat16])
)


@settings(deadline=None)
@given(st.dictionaries(_names, _tensor, max_size=4))
def test_any_name_and_shape_survives_a_manifest(drawn: dict[str, tuple[list[int], type]]) -> None:
    tensors: dict[str, Array] = {name: np.zeros(shape, dtype) for name, (shape, dtype) in drawn.items()}
    text, entries = format_manifest(tensors)
    assert parse_manifest(text, "m") == entries
    assert [entry.name for entry in entries] == list(tensors)
    for entry, array in zip(entries, tensors.values(), strict=True):
        assert (entry.shape, entry.dtype) == (array.shape, array.dtype.name)
    ends = [entry.offset + entry.size for entry in entries]
    assert all(end <= entry.offset for end, entry in zip(ends, entries[1:], strict=False))


def test_every_malformed_line_is_named() -> None:
    text = (
        "name,type,offset,size,shape\na,weights,0\na,weights,x,4,1\na,weights,0,8,1\na,weights:int8,0,1,1\n"
        'b,biases,0,4,1\nb,bias,4,4,1\n"c,weights,0,4,1\n'
    )
    with pytest.raises(WeightError) as caught:
        parse_manifest(text, "m")
    assert str(caught.value).splitlines() == [
        "m:2: expected name,type,offset,size,shape, got 3 fields",
        "m:3: offset: expected a whole number, got 'x'",
        "m:4: size 8 is not that of [1] in float32: 4 bytes; write weights:<element type>",
        "m:5: unknown element type 'int8'; allowed: float32, float16, bfloat16",
        "m:7: tensor 'b.bias' stands twice, first in line 6",
        "m:8: not a line of name,type,offset,size,shape: unexpected end of data",
    ]


@pytest.mark.parametrize("keep", [0, 4, 20, 200, -1])
def test_a_truncated_safetensors_file_gives_one_message(tmp_path: Path, keep: int) -> None:
    file = tmp_path / "w.safetensors"
    save_weights(file, TENSORS)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(WeightError) as caught:
        load_weights(file)
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(f"{file}: not a safetensors file, truncated or altered: ")


def test_a_truncated_binary_gives_one_message(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.manifest", TENSORS)
    os.truncate(tmp_path / "w.bin", 50)
    with pytest.raises(WeightError) as caught:
        load_weights(tmp_path / "w.manifest")
    assert (
        str(caught.value)
        == f"{tmp_path}/w.manifest: w.bin has 50 bytes, the manifest needs 96: it is truncated"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.safetensors", "cannot read the weights: No such file or directory"),
        ("none.manifest", "none.manifest: No such file or directory"),
        ("w.pth", "expected a .safetensors, .manifest or .txt file, got 'w.pth'; pickles run code when loaded, convert "
         "it to safetensors"),
        ("w.h5", "expected a .safetensors, .manifest or .txt file, got 'w.h5'"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(WeightError) as caught:
        load_weights(tmp_path / name)
    assert message in str(caught.value)


def _spec() -> NetworkSpec:
    return NetworkSpec.model_validate(
        {
            "name": "net",
            "inputs": {"x": {"shape": [1, 3, 8, 8]}},
            "layers": [
                {"name": "conv1", "op": "conv2d", "out_channels": 4, "kernel": 3},
                {"name": "bn1", "op": "batch_norm"},
                {"name": "fc", "op": "linear", "out_features": 2, "bias": False},
            ],
        }
    )


def _good() -> dict[str, Array]:
    return {ref.name: np.ones(ref.shape, np.float32) for ref in resolve(_spec()).weights.values()}


def test_weights_that_fit() -> None:
    check_weights(resolve(_spec()), _good() | {"unused": np.zeros(1, np.int64)})


def test_all_wrong_weights_at_once() -> None:
    weights = _good()
    weights["conv1.weight"] = weights["conv1.weight"][..., :2]
    weights["bn1.running_var"] = weights["bn1.running_var"].astype(np.float64)
    weights["fcc.weight"] = weights.pop("fc.weight")
    del weights["conv1.bias"]
    with pytest.raises(WeightError) as caught:
        check_weights(resolve(_spec()), weights)
    assert str(caught.value).splitlines() == [
        "layer 'conv1': weight 'conv1.weight' must be [4, 3, 3, 3], the file has [4, 3, 3, 2]",
        "layer 'conv1': bias 'conv1.bias' [4] is missing from the weights",
        "layer 'bn1': running_var 'bn1.running_var' must be float32, float16, bfloat16, the file has float64",
        "layer 'fc': weight 'fc.weight' [2, 6] is missing from the weights (did you mean 'fcc.weight'?)",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_half_written(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    save_weights(tmp_path / kind, TENSORS)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cnngen.spec.weights.save_file", full)
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(WeightError, match="cannot write the weights: No space left on device"):
        save_weights(tmp_path / kind, {"b": np.zeros(9, np.float32)})
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_element_types_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(WeightError) as caught:
        save_weights(tmp_path / "w.safetensors", {"a": np.zeros(1, np.int64), "b": np.zeros(1)})
    assert [problem.message for problem in caught.value.problems] == [
        "tensor 'a' is int64; allowed: float32, float16, bfloat16",
        "tensor 'b' is float64; allowed: float32, float16, bfloat16",
    ]


def test_arrays_in_any_memory_order_are_written_by_value(tmp_path: Path) -> None:
    swapped = np.arange(6, dtype=np.float32).reshape(2, 3).T
    make: Callable[[], Array] = lambda: load_weights(tmp_path / "w.safetensors")["a"]  # noqa: E731
    save_weights(tmp_path / "w.safetensors", {"a": swapped})
    assert make().tolist() == swapped.tolist()
    assert math.isclose(float(make()[2, 1]), 5.0)
