"""What a step costs: the judge wherever two forms compute the same thing.

Without measurements it is an analytic roofline. A lock's measured times answer here first, once there is a lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cnngen.codegen.graph import ITEM_BYTES, Shape, Value
from cnngen.codegen.node_ops import Conv
from cnngen.spec.types import ElementType


@dataclass(frozen=True)
class ConvProblem:
    """A convolution of x (N, C, H, W) to y (N, K, OH, OW) with R x S filters."""

    x: Shape
    y: Shape
    kernel: tuple[int, int]
    op: Conv
    dtype: ElementType


class Cost(Protocol):
    """The judge: what each form would take."""

    def convolution(self, problem: ConvProblem) -> float:
        """Microseconds of a convolution with its epilogue."""

    def copy(self, value: Value, channels: int) -> float:
        """Microseconds of a step that copies `value` to a tensor of another channel count."""

    def move(self, count: int) -> float:
        """Microseconds of a step that reads and writes `count` bytes in all."""

    def cached(self, count: int) -> float:
        """Microseconds in which a kernel's threads read `count` bytes that others of them have read, too."""

    def squeeze_excite(self, x: Value, hidden: int, *, scales: bool) -> float:
        """Microseconds of one step that makes the gates of x by so many hidden units, and may multiply x by them."""


@dataclass(frozen=True)
class Roofline:
    """The larger of arithmetic and memory time on an H100 (rates measured there, see docs/performance.md).

    cuDNN reads channels in 16-byte groups (in 8-byte ones for up to four channels of 16 bits, as image stems have
    them); other counts are padded inside, by copying the whole input. Fewer than 128 filters fill no tile of its
    fastest engines: 64 of 128x256x512 take 50 us, 128 of them 64 us.
    """

    tera_flops: float = 600.0
    bytes_per_us: float = 3.0e6
    launch_us: float = 2.0
    cache_bytes_per_us: float = 1.0e7  # of the first caches together, with the arithmetic on it
    block_bytes_per_us: float = 1.0e5  # what one multiprocessor reads; each has one block of a kernel of ours
    multiprocessors: int = 132

    def convolution(self, problem: ConvProblem) -> float:
        n, c, h, w = problem.x
        _, k, oh, ow = problem.y
        item = ITEM_BYTES[problem.dtype]
        operations = 2 * n * k * oh * ow * (c // problem.op.groups) * problem.kernel[0] * problem.kernel[1]
        # The tensor cores work through channels in groups of 16 bytes, through many in groups of 64, whatever is
        # stored (SPADE's 183 labels: 107 us padded to 184, 90 us to 192); exact float32 has none.
        exact = problem.dtype == "float32" and not problem.op.tf32
        group = 1 if exact else 16 // item
        whole = 4 * group if not exact and c > 4 * group else group
        least = min(4, group)
        filled = -(-c // whole) * whole / c if c > 4 else -(-c // least) * least / c
        memory = float((n * c * h * w + n * k * oh * ow) * item)
        if c % least or (c > 4 and c % group):
            memory += 2 * n * c * h * w * item + n * filled * c * h * w * item
        narrow = min(2.0, max(1.0, 128 / k))
        return max(operations * filled * narrow / (self.tera_flops * 1e6), memory / self.bytes_per_us)

    def copy(self, value: Value, channels: int) -> float:
        written = value.bytes // value.shape[1] * channels
        return self.move(value.bytes + written)

    def move(self, count: int) -> float:
        return self.launch_us + count / self.bytes_per_us

    def cached(self, count: int) -> float:
        return count / self.cache_bytes_per_us

    def squeeze_excite(self, x: Value, hidden: int, *, scales: bool) -> float:
        # A block an image: clusters of blocks are for a lock to choose.
        images, times = x.shape[0], 3 if scales else 1
        moved = times * x.bytes // images + 2 * hidden * x.shape[1] * ITEM_BYTES[x.dtype]
        turns = -(-images // self.multiprocessors)
        return max(self.launch_us + turns * moved / self.block_bytes_per_us, self.move(times * x.bytes))
