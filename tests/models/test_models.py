"""Models that others have made import as they are, and equal onnxruntime on the CPU target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from cnngen.codegen.onnx_backend import network_key
from cnngen.spec import ImportModelError
from cnngen.spec.onnx import import_onnx

from ..bundle import Bundle, Source, build_bundle, bundle_folder
from .make import MODELS, REFUSED, FromTorch, ensure
from .wheels import FetchError

TOLERANCE = 1e-4
TIES = {"matting_unpool": 0.003}  # the share of elements that a moved maximum may change


def imported(name: str) -> Source:
    path, inputs, _ = ensure(name)
    return import_onnx(path, shapes={key: array.shape for key, array in inputs.items()})


@pytest.fixture(scope="module")
def networks() -> tuple[Bundle, Mapping[str, str]]:
    """All models in one module, and the key of each; what cannot be fetched is told by its own test."""
    keys: dict[str, str] = {}

    def sources() -> Iterator[Source]:
        for name in MODELS:
            try:
                source = imported(name)
            except (FetchError, ImportModelError):
                continue
            keys[name] = network_key(*source, "cpu")
            yield source

    bundle = build_bundle(sources(), bundle_folder("models"), optimize="-O2;-ftree-vectorize")
    return bundle, keys


@pytest.mark.parametrize("name", MODELS)
def test_equals_onnxruntime(name: str, networks: tuple[Bundle, Mapping[str, str]]) -> None:
    _, inputs, expected = ensure(name)
    bundle, keys = networks
    network = bundle.by_key(keys[name]) if name in keys else bundle.network(*imported(name))
    results = network(*inputs.values())
    outputs = results if isinstance(results, tuple) else (results,)
    for y, (output, reference) in zip(outputs, expected.items(), strict=True):
        assert (y.shape, y.dtype) == (reference.shape, reference.dtype), output
        off = np.abs(y - reference) > TOLERANCE * np.abs(reference).max()
        assert off.mean() <= TIES.get(name, 0.0), output


@pytest.mark.parametrize("name", MODELS)
def test_a_reference_says_something(name: str) -> None:
    for output, reference in ensure(name)[2].items():
        assert reference.size <= 3 or np.unique(reference.round(4)).size > 10, output


@pytest.mark.parametrize("name", ["resnet18", "crepe_tiny"])
def test_a_torch_module_is_the_model_made_of_it(name: str) -> None:
    torch = pytest.importorskip("torch")
    _, inputs, expected = ensure(name)
    made = MODELS[name]
    assert isinstance(made, FromTorch)
    with torch.no_grad():
        y = made.module().eval()(*map(torch.from_numpy, inputs.values()))
    (reference,) = expected.values()
    assert np.abs(y.numpy() - reference).max() <= TOLERANCE * np.abs(reference).max()


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_by_node_and_reason(name: str) -> None:
    member, shapes = REFUSED[name]
    with pytest.raises(ImportModelError) as refusal:
        import_onnx(member.fetch(), shapes=shapes)
    text = str(refusal.value)
    assert "(LSTM): recurrent layers are not supported" in text
    assert ("(If): control flow on data is not supported" in text) == (name == "refuse_silero_if_lstm")
