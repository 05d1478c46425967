"""Every op of the spec, by its name there: what it means (numpy) and what it lowers to.

Each family's file here bears the name of the family's file in `spec/ops/`.
"""

from __future__ import annotations

from cnngen.codegen.ops import activation, arithmetic, conv, movement, norm, pool, resize, softmax
from cnngen.codegen.ops.registry import OpRules

OPS: dict[str, OpRules] = {
    **conv.RULES,
    **pool.RULES,
    **norm.RULES,
    **activation.RULES,
    **arithmetic.RULES,
    **resize.RULES,
    **movement.RULES,
    **softmax.RULES,
}
