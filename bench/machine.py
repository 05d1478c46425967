"""The machine at hand, and what a network takes of it: start-up and memory, each in processes of their own."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

START_UP = """
import json, sys, time
t0 = time.perf_counter()
import cnngen
module = cnngen.load(sys.argv[1])
t1 = time.perf_counter()
net = module.Network()
context = net.context()
t2 = time.perf_counter()
print(json.dumps({"import": (t1 - t0) * 1e3, "ready": (t2 - t1) * 1e3, **dict(context.startup)}))
"""

MEMORY = """
import ctypes, json, sys
import cnngen
module = cnngen.load(sys.argv[1])
cudart = ctypes.CDLL("libcudart.so.13")
def free():
    a, b = ctypes.c_size_t(), ctypes.c_size_t()
    assert cudart.cudaMemGetInfo(ctypes.byref(a), ctypes.byref(b)) == 0
    return a.value
keep = []
def make():
    net = module.Network()
    keep.append((net, net.context()))
make(); make()          # libraries and modules are loaded now
before = free()
for _ in range(4): make()
network = (before - free()) / 4
before = free()
for _ in range(4): keep.append(keep[0][0].context())
context = (before - free()) / 4
print(json.dumps({"planned": dict(keep[0][1].memory), "one_network": network, "one_context": context}))
"""


def environment(packages: Sequence[str]) -> dict[str, str]:
    """The GPU, its driver, CUDA, and the versions of those packages that are installed."""
    import torch

    gpu = torch.cuda.get_device_properties(0)
    driver = "unknown"  # in a container without the program
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.check_output(query, text=True).splitlines()[0]
    return {
        "gpu": gpu.name,
        "multiprocessors": str(gpu.multi_processor_count),
        "driver": driver,
        "cuda": str(torch.version.cuda),
        **versions(packages),
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def start_up(project: Path) -> dict[str, Any]:
    """Milliseconds from constructor to ready: with no plan kept, then with the plans that the first run kept."""
    with tempfile.TemporaryDirectory() as cache:
        runs = [run_python(START_UP, project, {"XDG_CACHE_HOME": cache}) for _ in range(3)]
    return {"first": runs[0], "again": runs[-1]}


def memory(project: Path) -> dict[str, Any]:
    """Bytes on the device: what the plan says, and what one more network and context take."""
    import torch

    library = Path(torch.__file__).parents[1] / "nvidia" / "cu13" / "lib"
    return run_python(
        MEMORY, project, {"LD_LIBRARY_PATH": f"{library}:{os.environ.get('LD_LIBRARY_PATH', '')}"}
    )


def run_python(code: str, argument: Path, more: dict[str, str]) -> dict[str, Any]:
    """The JSON that a fresh Python prints last; {"error": text} where it fails."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(argument)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tempfile.gettempdir(),
        env={**os.environ, **more},
    )
    if done.returncode:
        return {"error": done.stderr[-2000:]}
    return json.loads(done.stdout.splitlines()[-1])


def relative(got: Any, reference: Any) -> float:
    """||got - reference|| / ||reference||."""
    return float(np.linalg.norm(got - reference) / np.linalg.norm(reference))
