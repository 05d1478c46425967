"""A fabricated file system that holds CUDA toolkits of any shape."""

from __future__ import annotations

from pathlib import Path

import pytest


class Fabric:
    """Writes toolkits below one folder. nvcc is a script that answers as nvcc does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = root / "cache"

    def file(self, name: str, text: str = "") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def nvcc(self, name: str, version: str = "13.0.88") -> Path:
        path = self.file(
            name, f'#!/bin/sh\necho "Cuda compilation tools, release {version[:4]}, V{version}"\n'
        )
        path.chmod(0o755)
        return path

    def toolkit(
        self, folder: str, lib: str = "lib64", version: str = "13.0.88", *, blas: bool = True
    ) -> Path:
        """A toolkit as NVIDIA's installer and conda make it."""
        major = version.split(".", maxsplit=1)[0]
        self.nvcc(f"{folder}/bin/nvcc", version)
        for header in ("cuda_runtime.h", "nvrtc.h", *(["cublasLt.h"] if blas else [])):
            self.file(f"{folder}/include/{header}")
        for library in ("cudart", "nvrtc", *(["cublasLt"] if blas else [])):
            real = self.file(f"{folder}/{lib}/lib{library}.so.{version}")
            real.with_name(f"lib{library}.so.{major}").symlink_to(real.name)
        return self.root / folder

    def cudnn(self, folder: str, header: str = "9.19.0", library: str | None = "9.19.0") -> Path:
        major, minor, patch = header.split(".")
        text = f"#define CUDNN_MAJOR {major}\n#define CUDNN_MINOR {minor}\n#define CUDNN_PATCHLEVEL {patch}\n"
        self.file(f"{folder}/include/cudnn_version.h", text)
        if library is not None:
            real = self.file(f"{folder}/lib/libcudnn.so.{library}")
            real.with_name("libcudnn.so.9").symlink_to(real.name)
        return self.root / folder

    def wheel(self, name: str, version: str) -> None:
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        self.file(f"site/{name.replace('-', '_')}-{version}.dist-info/METADATA", text)

    def wheels(self, cudnn: str = "9.28.1.4") -> Path:
        """The wheels' merged tree: lib instead of lib64, no unversioned libraries."""
        self.nvcc("site/nvidia/cu13/bin/nvcc")
        self.file("site/nvidia/cu13/bin/ptxas")
        self.file("site/nvidia/cu13/nvvm/bin/cicc")
        for header in ("cuda_runtime.h", "cublasLt.h", "nvrtc.h"):
            self.file(f"site/nvidia/cu13/include/{header}")
        for library in ("libcudart.so.13", "libcublasLt.so.13", "libnvrtc.so.13", "libcudart_static.a"):
            self.file(f"site/nvidia/cu13/lib/{library}")
        self.cudnn("site/nvidia/cudnn", header=".".join(cudnn.split(".")[:3]), library=None)
        self.file("site/nvidia/cudnn/lib/libcudnn.so.9")
        for name in ("nvcc", "crt", "cccl", "nvrtc"):
            self.wheel(f"nvidia-cuda-{name}", "13.0.88")
        self.wheel("nvidia-cuda-runtime", "13.0.96")
        self.wheel("nvidia-nvvm", "13.0.88")
        self.wheel("nvidia-cublas", "13.1.1.3")
        self.wheel("nvidia-cudnn-cu13", cudnn)
        return self.root / "site"


@pytest.fixture
def fabric(tmp_path: Path) -> Fabric:
    return Fabric(tmp_path)
