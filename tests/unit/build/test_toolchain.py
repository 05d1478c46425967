"""Where compiler and libraries are taken from, in which order, and what is said when something is missing."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from cnngen.codegen.architectures import BuildError, choose_architectures
from cnngen.codegen.programs import Part
from cnngen.codegen.toolchain import Toolchain, ToolchainError, find_toolchain

from .conftest import Fabric


def find(fabric: Fabric, *, compiler: Path | None = None, **environ: str) -> Toolchain:
    """Only the fabricated file system is seen, and the C++ compiler, CMake and Ninja of this machine."""
    path = os.pathsep.join(["/usr/bin", "/bin", str(Path(sys.executable).parent)])
    variables: Mapping[str, str] = {"PATH": path, **environ}
    return find_toolchain(
        compiler=compiler,
        environ=variables,
        site_packages=[fabric.root / "site"],
        cache=fabric.cache,
        system=fabric.root / "system",
    )


def test_wheels_go_before_the_system(fabric: Fabric) -> None:
    fabric.wheels()
    fabric.toolkit("system/usr/local/cuda")
    fabric.toolkit("conda")
    found = find(fabric, CONDA_PREFIX=str(fabric.root / "conda"))
    origins = {name: (part.origin, part.version) for name, part in found.parts().items()}
    assert origins["nvcc"] == ("wheel nvidia-cuda-nvcc", "13.0.88")
    assert origins["cudart"] == ("wheel nvidia-cuda-runtime", "13.0.96")
    assert origins["cublaslt"] == ("wheel nvidia-cublas", "13.1.1.3")
    assert origins["nvrtc"] == ("wheel nvidia-cuda-nvrtc", "13.0.88")
    assert origins["cudnn"] == ("wheel nvidia-cudnn-cu13", "9.28.1.4")
    assert found.cudart.path == fabric.root / "site/nvidia/cu13/lib/libcudart.so.13"


@pytest.mark.parametrize("variable", ["CUDA_HOME", "CONDA_PREFIX"])
def test_a_named_toolkit_goes_before_usr_local(fabric: Fabric, variable: str) -> None:
    fabric.toolkit("system/usr/local/cuda", version="12.8.93")
    root = fabric.toolkit("own", lib="targets/x86_64-linux/lib")
    fabric.cudnn("own")
    found = find(fabric, **{variable: str(root)})
    assert found.nvcc.path == root / "bin/nvcc"
    assert found.nvcc.origin == found.cudnn.origin == variable
    assert found.cudart.version == "13.0.88"


def test_an_explicit_compiler_goes_before_everything(fabric: Fabric) -> None:
    fabric.wheels()
    root = fabric.toolkit("own", version="13.0.48")
    for found in (find(fabric, CUDACXX=str(root / "bin/nvcc")), find(fabric, compiler=root / "bin/nvcc")):
        assert found.nvcc.version == "13.0.48"
        assert found.cudart.path.is_relative_to(root)
        assert found.cudnn.origin == "wheel nvidia-cudnn-cu13"


def test_an_explicit_compiler_that_is_not_there_is_an_error(fabric: Fabric) -> None:
    fabric.wheels()
    with pytest.raises(ToolchainError, match=r"CUDACXX: /no/nvcc is not a program; give the path of an nvcc"):
        find(fabric, CUDACXX="/no/nvcc")


def test_a_library_that_the_toolkit_lacks_comes_from_the_next_place_of_its_major_version(
    fabric: Fabric,
) -> None:
    fabric.wheels()
    slim = fabric.toolkit("own", blas=False)
    old = fabric.toolkit("old", version="12.8.93")
    found = find(fabric, CUDACXX=str(slim / "bin/nvcc"), CUDA_HOME=str(old))
    assert found.cudart.origin == "CUDACXX"
    assert found.cublaslt.origin == "wheel nvidia-cublas"


def test_cudnn_root_goes_before_the_wheel(fabric: Fabric) -> None:
    fabric.wheels()
    root = fabric.cudnn("cudnn", header="9.20.1", library="9.20.1")
    found = find(fabric, CUDNN_ROOT=str(root))
    assert (found.cudnn.origin, found.cudnn.version) == ("CUDNN_ROOT", "9.20.1")


def test_headers_newer_than_the_library_are_refused(fabric: Fabric) -> None:
    fabric.wheels()
    root = fabric.cudnn("cudnn", header="9.28.0", library="9.19.0")
    with pytest.raises(
        ToolchainError, match=r"headers in .* are 9\.28\.0, newer than the library .*9\.19\.0"
    ):
        find(fabric, CUDNN_ROOT=str(root))


def test_the_cudnn_that_torch_brings_is_the_one_that_headers_must_fit(fabric: Fabric) -> None:
    fabric.wheels(cudnn="9.28.1.4")
    fabric.file("site/torch/lib/libcudnn.so.9.19.0")
    (fabric.root / "site/torch/lib/libcudnn.so.9").symlink_to("libcudnn.so.9.19.0")
    with pytest.raises(ToolchainError, match=r"newer than the library .*/torch/lib/libcudnn\.so\.9\.19\.0"):
        find(fabric)


def test_cudnn_for_another_cuda_is_refused(fabric: Fabric) -> None:
    fabric.wheels()
    fabric.wheel("nvidia-cudnn-cu12", "9.10.2.21")
    with pytest.raises(ToolchainError, match="nvidia-cudnn-cu12 is for CUDA 12"):
        find(fabric)


def test_an_old_nvcc_is_refused(fabric: Fabric) -> None:
    root = fabric.toolkit("own", version="11.8.89")
    fabric.cudnn("own")
    with pytest.raises(ToolchainError, match=r"CUDA 11\.8\.89, too old; cnngen needs 12\.0 or newer"):
        find(fabric, CUDA_HOME=str(root))


def test_everything_that_is_missing_is_told_at_once(fabric: Fabric) -> None:
    with pytest.raises(ToolchainError) as error:
        find(fabric, CXX="no-such-compiler", CUDA_HOME="/no/cuda")
    text = str(error.value)
    assert len(error.value.problems) == 3
    assert "nvcc was not found; looked in the wheels of" in text
    assert "CUDA_HOME (/no/cuda)" in text
    assert "cuDNN 9 (libcudnn.so.9 and cudnn_version.h) was not found" in text
    assert "no C++ compiler: looked for no-such-compiler" in text
    assert text.count("pip install 'cnngen[cuda13]'") == 2


def test_a_version_changes_the_fingerprint(fabric: Fabric) -> None:
    fabric.wheels()
    before = find(fabric).fingerprint()
    assert find(fabric).fingerprint() == before
    fabric.nvcc("site/nvidia/cu13/bin/nvcc", "13.0.99")
    assert find(fabric).fingerprint() != before


class Knows(Toolchain):
    def architectures(self) -> list[str]:
        return ["75", "80", "90", "100", "120"]


@pytest.fixture
def toolchain() -> Toolchain:
    part = Part(Path("/bin/true"), "13.0.88", "test")
    return Knows(part, part, part, part, part, part, part, part, part)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (["90"], ("90",)),
        (["9.0,75"], ("75", "90")),
        (["sm_100", "80", "80"], ("80", "100")),
        (["12.0"], ("120",)),
    ],
)
def test_architectures_are_read(toolchain: Toolchain, given: list[str], taken: tuple[str, ...]) -> None:
    assert choose_architectures(toolchain, given) == taken


def test_unknown_architectures_are_named(toolchain: Toolchain) -> None:
    with pytest.raises(
        BuildError, match=r"--arch: hopper, 70 is no .* nvcc 13\.0\.88.* knows 75, 80, 90, 100, 120"
    ):
        choose_architectures(toolchain, ["hopper,90", "70"])


def test_the_default_is_the_gpus_present(toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnngen.codegen.architectures.gpus", lambda: ["90", "90", "103"])
    assert choose_architectures(toolchain, None) == ("90", "100")
    monkeypatch.setattr("cnngen.codegen.architectures.gpus", list)
    assert choose_architectures(toolchain, None) == ("75", "80", "90", "100", "120")
