"""CUDA's PyPI wheels as an ordinary CUDA_HOME, so that nvcc and CMake work on them.

The wheels merge into site-packages/nvidia/cu13 with neither a lib64 folder nor unversioned libraries, and
nvcc finds its own libraries by its real path. So a small folder in the user's cache holds links in the usual
shape and an nvcc that is told where the libraries are. Its name is made from its content: equal wheels give
the same folder, untouched.

Standard library only: CMake runs this file as a script, also where cnngen is not installed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CUDA_WHEELS = (  # what cu13/ is merged from, as far as a build needs it
    "nvidia-cuda-nvcc",
    "nvidia-nvvm",
    "nvidia-cuda-crt",
    "nvidia-cuda-cccl",
    "nvidia-cuda-runtime",
    "nvidia-cublas",
    "nvidia-cuda-nvrtc",
)


@dataclass(frozen=True)
class Wheels:
    """NVIDIA's wheels in one site-packages folder.

    cuda:     .../nvidia/cu13, with bin, include, lib, nvvm
    cudnn:    .../nvidia/cudnn, with include, lib; None where that wheel is not installed
    versions: distribution name -> version, of the wheels that are installed
    """

    cuda: Path
    cudnn: Path | None
    versions: dict[str, str]

    def missing(self) -> list[str]:
        """The wheels that a build still needs."""
        wanted = [*CUDA_WHEELS, "nvidia-cudnn-cu13"]
        return [name for name in wanted if name not in self.versions]


def find_wheels(site_packages: Sequence[str | Path] | None = None) -> Wheels | None:
    """The first site-packages folder that holds nvcc's wheel; by default those on `sys.path`."""
    for folder in map(Path, sys.path if site_packages is None else site_packages):
        cuda = folder / "nvidia" / "cu13"
        if (cuda / "bin" / "nvcc").is_file():
            versions = _versions(folder)
            cudnn = folder / "nvidia" / "cudnn"
            usable = "nvidia-cudnn-cu13" in versions and cudnn.is_dir()
            return Wheels(cuda, cudnn if usable else None, versions)
    return None


def _versions(folder: Path) -> dict[str, str]:
    wanted = {*CUDA_WHEELS, "nvidia-cudnn-cu13", "nvidia-cudnn-cu12"}
    found = {}
    for path in folder.glob("nvidia_*.dist-info"):
        distribution = importlib.metadata.PathDistribution(path)
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        if name in wanted:
            found[name] = distribution.version
    return dict(sorted(found.items()))


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/cnngen`, else `~/.cache/cnngen`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cnngen"


def make_overlay(wheels: Wheels, cache: Path | None = None) -> Path:
    """The overlay of these wheels, made when it does not exist yet.

    It appears whole or not at all, and is not written again: compiler caches key on the compiler's time.

    Returns:
        A folder with bin/nvcc, include, lib64, nvvm and, where that wheel is installed, cudnn.
    """
    cache = cache_folder() if cache is None else cache
    links = dict(_links(wheels))
    content = "\n".join([*(f"{name} -> {target}" for name, target in links.items()), repr(wheels.versions)])
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    overlay = cache / f"cuda-{wheels.versions.get('nvidia-cuda-nvcc', 'unknown')}-{digest}"
    if overlay.is_dir():
        return overlay
    cache.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".overlay-", dir=cache))
    try:
        for name, target in links.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).symlink_to(target)
        nvcc = made / "bin" / "nvcc"
        lib64 = shlex.quote(str(overlay / "lib64"))
        nvcc.write_text(f'#!/bin/sh\nexec {shlex.quote(str(wheels.cuda / "bin" / "nvcc"))} -L{lib64} "$@"\n')
        nvcc.chmod(0o755)
        made.chmod(0o755)
        try:
            made.rename(overlay)
        except OSError:
            if not overlay.is_dir():  # otherwise somebody else has just made the same one
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return overlay


def _links(wheels: Wheels) -> Iterator[tuple[str, Path]]:
    """Every link of the overlay, by its name inside it, in a fixed order."""
    cuda = wheels.cuda
    for folder in ("include", "nvvm"):
        if (cuda / folder).is_dir():
            yield folder, cuda / folder
    for program in sorted((cuda / "bin").iterdir()):
        if program.name != "nvcc":
            yield f"bin/{program.name}", program
    libraries = sorted((cuda / "lib").iterdir())
    if wheels.cudnn is not None:
        yield "cudnn", wheels.cudnn
        libraries += sorted((wheels.cudnn / "lib").glob("libcudnn*"))
    for library in libraries:
        yield f"lib64/{library.name}", library
        unversioned = re.sub(r"\.so(\.\d+)+$", ".so", library.name)
        if unversioned != library.name and not (library.parent / unversioned).exists():
            yield f"lib64/{unversioned}", library


if __name__ == "__main__":
    installed = find_wheels()
    if installed is not None:
        print(make_overlay(installed))
