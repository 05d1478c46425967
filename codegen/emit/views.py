"""What `network.cu.j2` and the kernels' templates place: finished names and texts, nothing to compute."""

from __future__ import annotations

from dataclasses import dataclass

from cnngen.codegen.emit.kernels import Kernel, Launch
from cnngen.spec.names import CppIdentifier


@dataclass(frozen=True)
class Variant:
    """The statements of a step in some of the plans."""

    cases: tuple[str, ...]  # the labels of a switch, one a plan
    lines: tuple[str, ...]


@dataclass(frozen=True)
class StepView:
    """A step's function: its name, its comment, and its statements; several variants where plans differ."""

    name: CppIdentifier
    comment: str
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class SlotView:
    """A place in the arena, where several buffers lie in turn."""

    name: str
    offsets: tuple[int, ...]  # bytes, one a plan


@dataclass(frozen=True)
class BufferView:
    """An activation, and the slot it lies in."""

    name: CppIdentifier
    slot: str


@dataclass(frozen=True)
class WeightView:
    """A tensor of the slab. It says no offset, so that a change of one leaves the lines of the others alone."""

    name: CppIdentifier
    before: CppIdentifier | None  # the tensor that it follows
    bytes: int
    comment: str


@dataclass(frozen=True)
class KernelView:
    """A kernel under its name."""

    name: CppIdentifier
    comment: str
    kernel: Kernel


@dataclass(frozen=True)
class KernelFileView:
    """A source file of kernels: they are shared out, so that compilers work side by side."""

    name: str
    kernels: tuple[KernelView, ...]
    headers: tuple[str, ...]
    is_first: bool


@dataclass(frozen=True)
class LaunchView:
    """A kernel's launch in one plan."""

    kernel: CppIdentifier
    launch: Launch
    shared: tuple[str, ...]  # layers, output and arguments


@dataclass(frozen=True)
class ForwardView:
    """A straight-line forward and the plans that it serves."""

    name: str
    cases: tuple[str, ...]  # the labels of a switch, one a plan
    statements: tuple[str, ...]


@dataclass(frozen=True)
class NetworkView:
    """All of `network.cu` and `kernels.cu`, in the order of the text.

    A plan is a batch size; where the network has several profiles, a profile at a batch size.
    """

    plans: str  # all of them in words
    selector: str  # what the cases of a switch are values of
    steps: tuple[StepView, ...]
    slots: tuple[SlotView, ...]
    buffers: tuple[BufferView, ...]
    weights: tuple[WeightView, ...]
    kernels: tuple[KernelView, ...]
    files: tuple[KernelFileView, ...]  # of the kernels
    forwards: tuple[ForwardView, ...]
    declares: tuple[str, ...]  # headers of the kernels' declarations
    capability: int  # the least that its kernels need, 90 being compute capability 9.0; 0: any
