"""What a network is compiled for: the target, and the GPUs' compute capabilities or the CPU's instruction set."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence

from cnngen.codegen.targets import CPU, CUDA, TARGETS, Target
from cnngen.codegen.toolchain import Toolchain
from cnngen.codegen.toolchain_cpu import CpuToolchain
from cnngen.spec.errors import CnngenError, listing, nearest

DEFAULT_ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")
AUTO = "auto"


class BuildError(CnngenError):
    """A project cannot be compiled, or was not."""


def choose_target(name: str, archs: Sequence[str] | None = None) -> Target:
    """The target of that name; "auto" is CUDA where a GPU or its compute capability is named or present, else the CPU.

    Raises:
        BuildError: no target has the name.
    """
    if name == AUTO:
        if archs is None:
            return CUDA if gpus() else CPU
        return (
            CUDA
            if all(re.fullmatch(r"(sm_|compute_)?\d[\d.]*[af]?", arch) for arch in _names(archs))
            else CPU
        )
    found = next((target for known, target in TARGETS.items() if known == name), None)
    if found is None:
        known = [AUTO, *TARGETS]
        raise BuildError(f"--target: there is no {name!r}{nearest(name, known)}; there is {listing(known)}")
    return found


def choose_architectures(toolchain: Toolchain | CpuToolchain, archs: Sequence[str] | None) -> tuple[str, ...]:
    """What to compile for, as the compiler names it.

    On a GPU, compute capabilities such as "90", ascending: the asked ones, by default the GPUs', else the usual ones.
    On a CPU, one name that g++ takes as -march: by default this machine's, "native".

    Raises:
        BuildError: names what is no architecture, or none that this compiler knows, and all that it knows.
    """
    if isinstance(toolchain, CpuToolchain):
        return (_cpu_architecture(toolchain, archs),)
    known = toolchain.architectures()
    if archs is None:
        present = [max((k for k in known if int(k) <= int(gpu)), key=int, default=gpu) for gpu in gpus()]
        return tuple(sorted(set(present), key=int) or [a for a in DEFAULT_ARCHITECTURES if a in known])
    names = _names(archs)
    numbers = {name: re.sub(r"^(sm_|compute_)|(?<=\d)\.(?=\d$)", "", name.lower()) for name in names}
    wrong = [name for name, number in numbers.items() if number not in known]
    if wrong or not names:
        raise BuildError(
            f"--arch: {listing(wrong) or 'nothing'} is no architecture that nvcc {toolchain.nvcc.version} "
            f"compiles for; it knows {', '.join(sorted(known, key=int))}"
        )
    return tuple(sorted(set(numbers.values()), key=int))


def _cpu_architecture(toolchain: CpuToolchain, archs: Sequence[str] | None) -> str:
    names = ["native"] if archs is None else _names(archs)
    if len(names) != 1:
        raise BuildError(
            f"--arch: one name for a CPU, such as native or x86-64-v3, got {listing(names) or 'none'}"
        )
    if not toolchain.instruction_set(names[0]):
        known = toolchain.architectures()
        some = f"; it knows {', '.join(known)}" if known else ""
        raise BuildError(
            f"--arch: {names[0]!r} is no CPU that {toolchain.cxx.path} compiles for"
            f"{nearest(names[0], known)}{some}"
        )
    return names[0]


def _names(archs: Sequence[str]) -> list[str]:
    return [name for text in archs for name in re.split(r"[,;\s]+", text.strip()) if name]


def gpu_names() -> list[str]:
    """Names of the GPUs that the driver shows, such as ["NVIDIA H200"]; empty without driver or GPU."""
    cuda, count = _driver()
    found = []
    for device in range(count):
        name = ctypes.create_string_buffer(256)
        if cuda is not None and cuda.cuDeviceGetName(name, len(name), device) == 0:
            found.append(name.value.decode())
    return found


def bus_id(device: int) -> str:
    """Where a GPU is, such as 0000:1b:00.0: another process may know it by another number."""
    cuda, count = _driver()
    place = ctypes.create_string_buffer(32)
    if cuda is None or device >= count or cuda.cuDeviceGetPCIBusId(place, len(place), device) != 0:
        return str(device)
    return place.value.decode()


def _driver() -> tuple[ctypes.CDLL | None, int]:
    """The driver, and how many GPUs it shows."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None, 0
    count = ctypes.c_int(0)
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return None, 0
    return cuda, count.value


def gpus() -> list[str]:
    """Compute capabilities of the GPUs that the driver shows, such as ["90"]; empty without driver or GPU."""
    cuda, count = _driver()
    if cuda is None:
        return []
    value, found = ctypes.c_int(0), []
    for device in range(count):
        major_minor = ""
        for attribute in (75, 76):
            if cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device) != 0:
                break
            major_minor += str(value.value)
        else:
            found.append(major_minor)
    return found
