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
# What storing float16 costs these in exact arithmetic is as much (bench/rounding.py): deep, most with seeded weights.
# In matting_unpool near-ties move a maximum, which moves a value.
FLOAT16: Mapping[str, float] = {
    "craft_vgg16bn": 1.5e-2,
    "resnet50": 2.5e-2,
    "unet_bilinear": 1.5e-2,
    "unet_deconv": 2e-2,
    "matting_unpool": 2e-1,
}
BEYOND_FLOAT16 = ("light_shufflenet",)  # its activations reach millions
CASES = [
    (name, storage)
    for name in MODELS
    for storage in TOLERANCE
    if storage != "float16" or name not in BEYOND_FLOAT16
]

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
        for name, storage in CASES:
            try:
                source = imported(name, storage)
            except (FetchError, ImportError):  # no network, or no torch
                continue
            keys[name, storage] = network_key(*source, "cuda")
            yield source

    return build_bundle(sources(), bundle_folder("gpu_models"), CUDA, files=16), keys


@pytest.mark.parametrize(("name", "storage"), CASES)
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
        allowed = TOLERANCE[storage]
        assert error <= (FLOAT16.get(name, allowed) if storage == "float16" else allowed)
