"""What each ONNX operator is in the spec's words: one function an operator, which refuses what it cannot say.

A rule returns the tensor that the node makes, or an array where that is known at import; a list for several outputs.
"""

from __future__ import annotations

from cnngen.spec.onnx.rules import (
    activation,
    arithmetic,
    conv,
    indexing,
    matmul,
    movement,
    norm,
    pool,
    reduce,
    resize,
    shape,
    slicing,
)
from cnngen.spec.onnx.rules.rule import Rule

RULES: dict[str, Rule] = {
    **conv.RULES,
    **matmul.RULES,
    **pool.RULES,
    **norm.RULES,
    **activation.RULES,
    **arithmetic.RULES,
    **reduce.RULES,
    **movement.RULES,
    **slicing.RULES,
    **indexing.RULES,
    **resize.RULES,
    **shape.RULES,
}
"""Every operator that is imported; further ones are evaluated where their inputs are constant."""
