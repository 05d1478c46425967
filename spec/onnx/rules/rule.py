"""What the rules share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cnngen.spec.importing.draft import Draft, RefusalError
from cnngen.spec.manifest import Array
from cnngen.spec.onnx.node import Node

Result = Draft | Array | list[Draft | Array | None]
Rule = Callable[[Node], Result]


def spatial_axes(x: Draft) -> int:
    """1 for a signal [N, C, L], 2 for an image [N, C, H, W]; any other is refused."""
    axes = len(x.shape) - 2
    if axes not in (1, 2):
        what = f"is {axes}-D" if axes > 0 else "has no spatial axes"
        raise RefusalError(
            f"its input {list(x.shape)} {what}; "
            "only 1-D signals [N, C, L] and 2-D images [N, C, H, W] are supported"
        )
    return axes


def sizes(numbers: Sequence[int], axes: int, what: str) -> int | list[int]:
    """One number for 1-d layers, [h, w] for 2-d; refused where the count is another."""
    if len(numbers) != axes:
        raise RefusalError(f"its {what} {list(numbers)} do not fit {axes} spatial axes")
    return numbers[0] if axes == 1 else list(numbers)


def same_type(tensors: Sequence[Draft]) -> None:
    """Refuses tensors of different element types."""
    types = sorted({tensor.dtype for tensor in tensors})
    if len(types) > 1:
        raise RefusalError(f"its inputs are of different types: {', '.join(types)}")
