"""Proof without a GPU: every convolution and matmul of a built network has a plan on GPUs that are only described.

cuDNN plans for a device given as JSON; what it asks of the driver meanwhile a no-op libcuda answers (see
`deviceless/libcuda.c`). A process that has loaded that one must never run anything on a GPU: planning has its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnngen.spec.errors import CnngenError, Problem, listing, nearest

DEVICELESS = Path(__file__).resolve().parent / "deviceless"


@dataclass(frozen=True)
class LayerPlan:
    """The plan of a layer: the library's engine, and bytes of workspace."""

    layer: str
    batch: int
    kind: str
    engine: str
    workspace: int


@dataclass(frozen=True)
class PlanReport:
    """All plans of a network on a described GPU."""

    network: str
    gpu: str
    plans: tuple[LayerPlan, ...]

    def __str__(self) -> str:
        workspace = max((plan.workspace for plan in self.plans), default=0)
        return (
            f"{self.network} on {self.gpu}: {len(self.plans)} plans, "
            f"largest workspace {workspace / 1e6:.1f} MB"
        )


def gpus() -> dict[str, Path]:
    """The described GPUs by name."""
    return {path.stem: path for path in sorted((DEVICELESS / "gpus").glob("*.json"))}


def check_plans(project: Path, names: Sequence[str]) -> Iterator[PlanReport]:
    """Plans the built project for each GPU in turn.

    Raises CnngenError for an unknown GPU, for a project that is not built, and where a layer has no plan: every
    such layer at once.
    """
    known = gpus()
    wrong = [name for name in names if name not in known]
    if wrong:
        raise CnngenError(
            [
                Problem(
                    f"--gpu: {name!r} is not described{nearest(name, list(known))}; known: "
                    f"{listing(list(known))}"
                )
                for name in wrong
            ]
        )
    stub = _stub()
    for name in names:
        yield _check(project, name, known[name], stub)


def _check(project: Path, gpu: str, device: Path, stub: Path) -> PlanReport:
    done = subprocess.run(
        [sys.executable, str(DEVICELESS / "planner.py"), str(stub), str(project), str(device)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise CnngenError(f"{project} cannot be planned for {gpu}: {reason[0].removeprefix('cnngen.')}")
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        raise CnngenError(f"{gpu}: {answer['error']}")
    return PlanReport(project.resolve().name, gpu, tuple(LayerPlan(*row) for row in answer["rows"]))


def _stub() -> Path:
    """The no-op libcuda.so.1, compiled once for each version of its source."""
    source = DEVICELESS / "libcuda.c"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    library = cache / "cnngen" / f"deviceless-{digest}" / "libcuda.so.1"
    if not library.exists():
        compiler = next(
            (path for name in ("cc", "gcc", "g++", "clang") if (path := shutil.which(name))), None
        )
        if compiler is None:
            raise CnngenError(
                "no C compiler: looked for cc, gcc, g++ and clang; on Debian and Ubuntu: apt install g++"
            )
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            made = Path(folder) / library.name
            subprocess.run(
                [
                    compiler,
                    "-x",
                    "c",
                    "-shared",
                    "-fPIC",
                    "-fno-builtin",
                    "-w",
                    "-Wl,-soname,libcuda.so.1",
                    str(source),
                    "-o",
                    str(made),
                ],
                check=True,
            )
            made.replace(library)
    return library
