"""Every op of the spec, by its name there: what it means (numpy) and what it lowers to.

Each family's file here bears the name of the family's file in `spec/ops/`.
"""

from __future__ import annotations

from cnngen.codegen.ops import (
    activation,
    arithmetic,
    blocks,
    constants,
    conv,
    conv_transpose,
    indexing,
    linear,
    logic,
    movement,
    norm,
    pool,
    reduce,
    resize,
    sampling,
    softmax,
    unary,
)
from cnngen.codegen.ops.registry import OpRules

OPS: dict[str, OpRules] = {
    **conv.RULES,
    **conv_transpose.RULES,
    **linear.RULES,
    **pool.RULES,
    **norm.RULES,
    **activation.RULES,
    **unary.RULES,
    **arithmetic.RULES,
    **logic.RULES,
    **movement.RULES,
    **blocks.RULES,
    **indexing.RULES,
    **resize.RULES,
    **sampling.RULES,
    **constants.RULES,
    **softmax.RULES,
    **reduce.RULES,
}
