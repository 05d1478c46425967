"""The host runtime with its Python module over a fake of CUDA: how it is built, and what tests ask of it."""

# ruff: noqa: ANN401 - the module under test is compiled here and has no types

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cnngen.codegen.emit.render import render

from .objects import INCLUDE, RUNTIME, compiled, run

HERE = RUNTIME

SCALE = np.array([2, 3, 4], np.float32)
PAYLOAD = bytes(256) + SCALE.tobytes() + bytes(244)


def port(name: str, shape: tuple[int, ...], layout: str) -> SimpleNamespace:
    return SimpleNamespace(identifier=name, shape=shape, dtype="float32", layout=layout, element="float")


VIEW: dict[str, Any] = {
    "name": "fakenet",
    "target": "cuda",
    "batched": True,
    "profiles": (),
    "notice": "Generated for a test.",
    "description": "Four kernels.",
    "inputs": [port("a", (3,), ""), port("b", (2, 2, 2), "NHWC")],
    "outputs": [port("scaled", (3,), ""), port("plus", (2, 2, 2), "NHWC")],
    "batch_sizes": (1, 4),
    "weight_file": "fakenet.weights.safetensors",
}


def write_weights(path: Path, payload: bytes = PAYLOAD, **metadata: str) -> Path:
    described = {"format": "cnngen", "layout": "00000000000000aa", "crc32": f"{zlib.crc32(PAYLOAD):08x}"}
    header = json.dumps({"__metadata__": described | metadata}).encode()
    header += b" " * (-(len(header) + 8) % 256)
    path.write_bytes(len(header).to_bytes(8, "little") + header + payload)
    return path


def wheel_headers(name: str) -> Path:
    """The headers of an NVIDIA wheel; only headers are needed, the libraries are faked."""
    try:
        spec = importlib.util.find_spec(f"nvidia.{name}")
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"no headers: the wheel that holds nvidia/{name} is not installed")
    return Path(next(iter(spec.submodule_search_locations))) / "include"


def compile_fake(to: Path, *sources: str | Path, optimize: str = "-O1", more: tuple[str, ...] = ()) -> None:
    """Compiles and links sources with the fake; `optimize` is for those that only one test has."""
    flags = [
        "-std=c++20",
        "-fPIC",
        "-pthread",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-I{INCLUDE}",
        f"-I{HERE}",
    ]
    headers = ["-isystem", str(wheel_headers("cu13")), "-isystem", str(wheel_headers("cudnn"))]
    shared = [path for path in map(Path, sources) if path.is_relative_to(INCLUDE)]
    own = [source for source in sources if source not in shared]
    fakes = [HERE / "fake_cuda.cpp", HERE / "fake_libraries.cpp"]
    includes = [word for word in more if word.startswith("-I")]
    objects = [compiled("g++", path, [*flags, "-O1", *includes, *headers]) for path in (*fakes, *shared)]
    run("g++", *flags, optimize, *more, *headers, *objects, *own, "-o", to)


def build_fake(folder: Path, view: Mapping[str, Any], source: Path, optimize: str = "-O1") -> ModuleType:
    """A package over the fake, imported; `module.fake` reaches the fake inside."""
    package = folder / view["name"]
    package.mkdir()
    (package / "__init__.py").write_text(render("cuda/init.py.j2", view))
    (package / "_map.py").write_text(render("map.py.j2", view))
    (package / "bindings.cpp").write_text(render("bindings.cpp.j2", view))
    write_weights(package / view["weight_file"])
    pybind = run(sys.executable, "-m", "pybind11", "--includes").split()
    # The fake's symbols before those of a CUDA that another test has loaded: PyTorch loads what wheels there are.
    more = ("-shared", "-Wl,-Bsymbolic", *pybind)
    sources = (source, package / "bindings.cpp", INCLUDE / "cnngen" / "cuda" / "module.cpp")
    compile_fake(package / "_core.so", *sources, optimize=optimize, more=more)
    sys.path.insert(0, str(folder))
    module = importlib.import_module(view["name"])
    module.fake = ctypes.CDLL(module._core.__file__)
    return module


def count(fakenet: ModuleType, *functions: str) -> int:
    return sum(fakenet.fake.fake_count(name.encode()) for name in functions)


def batch(n: int, seed: int = 0) -> tuple[Any, Any]:
    draw = np.random.default_rng(seed)
    return draw.standard_normal((n, 3)).astype(np.float32), draw.standard_normal((n, 2, 2, 2)).astype(
        np.float32
    )


def check(results: Any, a: Any, b: Any) -> None:
    np.testing.assert_array_equal(results[0], a * SCALE)
    np.testing.assert_array_equal(results[1], b + 1)


def items(n: int, seed: int = 0) -> list[tuple[Any, Any]]:
    return list(zip(*batch(n, seed), strict=True))


def check_items(results: Any, given: Any) -> None:
    results = list(results)
    assert len(results) == len(given)
    for result, (a, b) in zip(results, given, strict=True):
        check(result, a, b)


@contextmanager
def lazily(module: ModuleType) -> Iterator[None]:
    """Streams run only as far as somebody waits; afterwards they run at once again, and nothing fails."""
    module.fake.fake_set(b"lazy", ctypes.c_long(1))
    module.fake.fake_set(b"most graphs waiting", ctypes.c_long(0))
    try:
        yield
    finally:
        module.fake.fake_set(b"lazy", ctypes.c_long(0))
        for function in (b"cudaGraphLaunch", b"cudaMemcpyAsync", b"cudaEventRecord", b"kernels"):
            module.fake.fake_fail(function, ctypes.c_long(0))


class OnDevice:
    """An array in the fake's device memory, `offset` bytes behind a 256-byte boundary."""

    def __init__(self, fakenet: ModuleType, values: Any, offset: int = 0) -> None:
        address = ctypes.c_void_p()
        fakenet.fake.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(values.nbytes + offset))
        assert address.value is not None
        self.address, self.shape = address.value + offset, values.shape
        ctypes.memmove(self.address, np.ascontiguousarray(values).ctypes.data, values.nbytes)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": "<f4",
            "data": (self.address, False),
            "strides": None,
        }


def read(array: Any) -> Any:
    described = array.__cuda_array_interface__
    values = (ctypes.c_float * int(np.prod(described["shape"]))).from_address(described["data"][0])
    return np.ctypeslib.as_array(values).reshape(described["shape"]).copy()
