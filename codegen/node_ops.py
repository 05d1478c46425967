"""What a node of the graph computes before its epilogue: one of a few primitive forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from cnngen.codegen import expr as ex
from cnngen.codegen.expr import ACC, Expr

ReduceKind: TypeAlias = Literal["sum", "mean", "max", "min", "prod", "sum_squares", "variance"]


@dataclass(frozen=True)
class Conv:
    """2-d cross-correlation of x (N, C, H, W) with w (K, C / groups, R, S).

    phases: of each place so many neighbouring rows and columns of the result, whose filters are [phase, filter].
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    tf32: bool = False
    phases: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class MatMul:
    """x (..., K) times the transpose of w (N, K)."""

    tf32: bool = False


@dataclass(frozen=True)
class BatchMatMul:
    """a (B, M, K) times b (B, K, N), each of B by its own; both are row-major."""

    tf32: bool = False


@dataclass(frozen=True)
class Pool:
    """Windows over x (N, C, H, W); what they cover beyond the padding counts for nothing.

    argmax: h * W + w of the window's first largest element, h first.
    """

    kind: Literal["max", "avg", "sum", "argmax"]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int] = (1, 1)
    count_include_pad: bool = False


@dataclass(frozen=True)
class MaxPools:
    """A chain of max pools: x (N, C, H, W), its maxima over kernel x kernel pixels, theirs, and so on, `count` of them.

    One behind the other in the channels: (N, (count + 1) C, H, W). The kernel is odd, and its windows are centred.
    """

    kernel: int
    count: int


@dataclass(frozen=True)
class Reduce:
    """x reduced along logical axes that are neighbours in memory; they stay with size 1, the others lie as they did.

    variance: the mean of the squared distances from the mean.
    """

    kind: ReduceKind
    axes: tuple[int, ...]


@dataclass(frozen=True)
class ArgReduce:
    """Where along a logical axis the largest or smallest element of x is, the first or last of equals.

    The axis stays with size 1; the other axes lie in memory as x's do.
    """

    kind: Literal["max", "min"]
    axis: int
    last: bool = False


@dataclass(frozen=True)
class Softmax:
    """Softmax of x along one logical axis, or its logarithm."""

    axis: int
    log: bool = False


@dataclass(frozen=True)
class SqueezeExcite:
    """Of x (N, C, ...), channels innermost, a sum a channel: w2 (C, M) times `hidden` of w1 (M, C) times x's means.

    hidden: of `ACC`, the sum of hidden unit m = `Coord(1)`; `Load(i)` reads operand i, a constant behind the weights
    gate:   likewise of a channel's sum, where the result is x times it; None: the sums are the result (N, C)
    """

    hidden: Expr = ACC
    gate: Expr | None = None

    @property
    def functions(self) -> tuple[Expr, ...]:
        return (self.hidden,) if self.gate is None else (self.hidden, self.gate)

    @property
    def constants(self) -> int:
        """How many operands these load."""
        return len({load.source for function in self.functions for load in ex.loads(function)})


@dataclass(frozen=True)
class ProductSoftmax:
    """Softmax, or its logarithm, along the channels (axis 1) of what a product of x and w gives.

    logits: of `ACC`, a sum of the product; `Load(i)` reads operand i, behind these two, as an epilogue does
    """

    product: Conv | MatMul
    logits: Expr = ACC
    log: bool = False

    @property
    def loaded(self) -> int:
        """How many operands the logits load."""
        return len({load.source for load in ex.loads(self.logits)})


@dataclass(frozen=True)
class Affine:
    """x * scale + shift, one scale and shift a channel (axis 1); a batch norm with its statistics folded in."""


@dataclass(frozen=True)
class Reshape:
    """The same elements in logical (row-major) order under another shape, which lie in memory as they are."""


@dataclass(frozen=True)
class Join:
    """Its inputs' channels one after the other, where they lie so already: in this value, or in its host."""


@dataclass(frozen=True)
class Slice:
    """Some of its input's channels, where they lie: it has the input as its host."""


@dataclass(frozen=True)
class Pointwise:
    """Nothing but an epilogue over the inputs; it never reads `ACC`."""


Op: TypeAlias = (
    Conv
    | MatMul
    | BatchMatMul
    | Pool
    | MaxPools
    | Reduce
    | ArgReduce
    | Softmax
    | SqueezeExcite
    | ProductSoftmax
    | Affine
    | Reshape
    | Join
    | Slice
    | Pointwise
)

# How many leading inputs an op itself takes; the rest are its epilogue's.
OPERANDS: dict[type[Op], int] = {
    Conv: 2,
    MatMul: 2,
    BatchMatMul: 2,
    Pool: 1,
    MaxPools: 1,
    Reduce: 1,
    ArgReduce: 1,
    Softmax: 1,
    SqueezeExcite: 3,
    ProductSoftmax: 2,
    Affine: 3,
    Reshape: 1,
    Join: 0,
    Slice: 1,
    Pointwise: 0,
}


def operand_count(op: Op) -> int:
    """How many leading inputs are the op's own."""
    match op:
        case SqueezeExcite():
            loaded = op.constants
        case ProductSoftmax():
            loaded = op.loaded
        case _:
            loaded = 0
    return OPERANDS[type(op)] + loaded
