"""The models of tests/models on the GPU, in float32 and float16, compiled into one module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from cnngen.codegen.onnx_backend import network_key
from cnngen.codegen.targets import CUDA
from cnngen.spec import Precision
from cnngen.spec.onnx import import_onnx
from cnngen.spec.types import DType

from ..bundle import Bundle, Source, build_bundle, bundle_folder
from ..models.make import MODELS, ensure
from ..models.wheels import FetchError

TOLERANCE: Mapping[DType, float] = {"float32": 1e-4, "float16": 5e-3}  # of the reference's norm
TIES = {"matting_unpool": {"float32": 1e-2, "float16": 1e-1}}  # a moved maximum moves a value

Keys = Mapping[tuple[str, DType], str]


def imported(name: str, storage: DType) -> Source:
    path, inputs, _ = ensure(name)
    spec, weights = import_onnx(path, shapes={key: array.shape for key, array in inputs.items()})
    return spec.model_copy(update={"precision": Precision(storage=storage)}), weights


@pytest.fixture(scope="module")
def networks() -> tuple[Bundle, Keys]:
    """Every model that can be had here."""
    keys: dict[tuple[str, DType], str] = {}

    def sources() -> Iterator[Source]:
        for name in MODELS:
            for storage in TOLERANCE:
                try:
                    source = imported(name, storage)
                except (FetchError, ImportError):  # no network, or no torch
                    continue
                keys[name, storage] = network_key(*source, "cuda")
                yield source

    return build_bundle(sources(), bundle_folder("gpu_models"), CUDA, files=16), keys


@pytest.mark.parametrize("storage", TOLERANCE)
@pytest.mark.parametrize("name", MODELS)
def test_equals_onnxruntime(name: str, storage: DType, networks: tuple[Bundle, Keys]) -> None:
    bundle, keys = networks
    if (name, storage) not in keys:
        pytest.skip("the model is not in the cache, and cannot be made here")
    _, inputs, expected = ensure(name)
    results = bundle.by_key(keys[name, storage])(*inputs.values())
    for y, reference in zip(
        results if isinstance(results, tuple) else (results,), expected.values(), strict=True
    ):
        assert y.shape == reference.shape
        error = np.linalg.norm(y - reference) / np.linalg.norm(reference)
        assert error <= TIES.get(name, TOLERANCE)[storage]
