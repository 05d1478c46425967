"""A generated project on disk: written whole or not at all, only what changed, nothing outside its folder."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path, PurePosixPath

from cnngen.codegen.targets import CUDA, TARGETS, Target
from cnngen.spec import NetworkSpec, check_weights, load_spec, load_weights, resolve
from cnngen.spec.errors import CnngenError, Problem, listing

# What a file holds, or what writes it to the path that it is given.
Content = str | bytes | Callable[[Path], object]

RUNTIME = (
    Path(__file__).resolve().parent.parent
)  # holds include/ and cmake/, in the checkout and in the wheel
WRITTEN = ".cnngen-files"  # the names of what the last run wrote, so that the next one removes what is stale


class ProjectError(CnngenError):
    """A generated project cannot be written."""


def check_spec(path: str | PathLike[str]) -> NetworkSpec:
    """Read a spec, and hold its weights, where it has any, against it.

    Raises:
        SpecError, WeightError: with every problem.
    """
    spec = load_spec(path)
    if spec.weights is not None:
        check_weights(resolve(spec), load_weights(Path(path).parent / spec.weights))
    return spec


def generate_project(
    spec: str | PathLike[str],
    output: str | PathLike[str],
    *,
    target: Target = CUDA,
    dump: str | PathLike[str] | None = None,
    lock: str | PathLike[str] | None = None,
    locked: bool = False,
    warn: Callable[[Problem], None] = lambda _problem: None,
) -> Path:
    """Generate the project of a spec into `output`/<name>, weights included.

    Where a lock of the GPU at hand lies beside the spec, what it chose is what is generated.

    Args:
        spec: the YAML file.
        output: the folder that holds generated projects.
        target: what the network is to run on.
        dump: a folder for the graph's text after every pass.
        lock: the lock to follow; "none" for none; default: that of the GPU present, without one the only one beside it.
        locked: a lock that is missing or stale is an error.
        warn: told of each way in which the lock is stale, where that is no error.

    Returns:
        The project's folder.

    Raises:
        CnngenError: spec, weights, lock or disk. Nothing is left half written.
    """
    from cnngen.codegen.architectures import gpu_names
    from cnngen.codegen.generate import generate
    from cnngen.codegen.locking import choose_lock, lock_problems, missing_lock, require_fresh

    gpus = gpu_names() if target is CUDA else []
    chosen = choose_lock(Path(spec), None if lock is None else str(lock), gpus) if target is CUDA else None
    project = generate(
        Path(spec),
        dump=None if dump is None else Path(dump),
        target=target,
        lock=None if chosen is None else chosen.lock,
    )
    if chosen is not None:
        problems = lock_problems(chosen, project.plan, gpus, library_versions())
        if locked:
            require_fresh(problems)
        for problem in problems:
            warn(problem)
    elif locked:
        require_fresh([missing_lock(Path(spec), gpus)])
    folder = Path(output) / project.name
    files: dict[str, Content] = {**project.files, **runtime_files(folder, target)}
    if chosen is not None:
        files |= {f"plans/{name}": content for name, content in chosen.plans.items()}
    write_project({**files, project.weight_file: project.write_weights}, folder)
    return folder


def library_versions() -> dict[str, str]:
    """Versions of the libraries that a build would use, as far as they are found, by the names of a lock's machine."""
    from cnngen.codegen.toolchain import ToolchainError, find_toolchain

    try:
        toolchain = find_toolchain()
    except ToolchainError:
        return {}
    return {"cuda": toolchain.cudart.version, "cudnn": toolchain.cudnn.version}


def runtime_files(folder: Path, target: Target = CUDA) -> dict[str, str]:
    """The headers and the build logic that a project carries so that it builds where cnngen is not installed.

    Those of other targets are left out. None for a project inside the checkout, which finds them there.
    """
    around = runtime_of(folder)
    if around is not None and around.samefile(RUNTIME):
        return {}
    headers = RUNTIME / "include" / "cnngen"
    others = [headers / name for name in TARGETS if name != target.name]
    paths = [
        path
        for path in headers.rglob("*")
        if path.suffix in (".hpp", ".cuh", ".cpp") and not any(path.is_relative_to(other) for other in others)
    ]
    paths += [RUNTIME / "cmake" / f"cnngen_{name}.cmake" for name in ("network", target.name)]
    files = {f"cnngen/{path.relative_to(RUNTIME).as_posix()}": path.read_text() for path in sorted(paths)}
    if target is CUDA:
        files["cnngen/cmake/overlay.py"] = (RUNTIME / "codegen" / "overlay.py").read_text()
    return files


def runtime_of(folder: Path) -> Path | None:
    """The checkout that a project lies in, two or three folders up, as its CMakeLists.txt looks for it."""
    above = folder.resolve().parents[1:3]
    return next((path for path in above if (path / "cmake" / "cnngen_network.cmake").is_file()), None)


def write_project(files: Mapping[str, Content], folder: Path) -> list[str]:
    """Bring a folder to hold these files, and not those of an earlier run that are no longer generated.

    Everything is first written beside, so that a full disk or a failing writer changes nothing. Files whose
    content is the same keep their time stamp.

    Args:
        files: relative POSIX path -> content.
        folder: made when it does not exist; other files in it are left alone.

    Returns:
        The names that changed, appeared or went, sorted.

    Raises:
        ProjectError: a name outside the folder, a file in the way that cnngen has not written, a disk error.
    """
    _refuse_outside(files, folder)
    appeared = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".cnngen-", dir=folder))
        try:
            return _replace(files, folder, staging)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            if appeared:
                with contextlib.suppress(OSError):  # holds what was asked for
                    folder.rmdir()
    except OSError as error:
        raise ProjectError(disk_problem(error, folder)) from error


def disk_problem(error: OSError, folder: Path) -> Problem:
    """What to tell of a failed write: for a full disk also how much is left."""
    text = f"cannot write {error.filename or folder}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        text += f"; {free_space(folder)}; free some, or write elsewhere with -o"
    return Problem(text)


def free_space(folder: Path) -> str:
    """How much is free where the folder is, or will be."""
    existing = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    return f"{shutil.disk_usage(existing).free / 1e6:.0f} MB are free at {existing}"


def _refuse_outside(files: Mapping[str, Content], folder: Path) -> None:
    root = folder.resolve()
    wrong = []
    for name in files:
        path = PurePosixPath(name)
        inside = not path.is_absolute() and path.parts and ".." not in path.parts and "\\" not in name
        if not inside or not (root / path).resolve().is_relative_to(root):
            wrong.append(name)
    if wrong:
        raise ProjectError(
            f"refused to write outside {folder}: {listing([repr(name) for name in sorted(wrong)])}"
        )


def _replace(files: Mapping[str, Content], folder: Path, staging: Path) -> list[str]:
    listed = folder / WRITTEN
    before = set(listed.read_text().splitlines()) if listed.is_file() else set()
    staged = {}
    for name, content in sorted(files.items()):
        path = staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(content, path)
        if not (folder / name).is_file() or not filecmp.cmp(path, folder / name, shallow=False):
            staged[name] = path
    foreign = [name for name in staged if name not in before and os.path.lexists(folder / name)]
    if foreign:
        raise ProjectError(
            f"{folder} holds files that cnngen has not written: {listing(foreign)}; "
            "remove them, or write elsewhere with -o"
        )
    stale = sorted(name for name in before - set(files) if _inside(name) and (folder / name).is_file())
    names = "".join(f"{name}\n" for name in sorted(files))
    (staging / WRITTEN).write_text(names)
    for name, path in staged.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        path.replace(folder / name)
    for name in stale:
        (folder / name).unlink()
        with contextlib.suppress(OSError):  # other files are left in it
            (folder / name).parent.rmdir()
    if not listed.is_file() or listed.read_text() != names:
        (staging / WRITTEN).replace(listed)
    return sorted([*staged, *stale])


def _inside(name: str) -> bool:
    return not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts


def _write(content: Content, path: Path) -> None:
    if isinstance(content, str):
        path.write_bytes(content.encode())
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
