"""What each ATen operator is in the spec's words: one function an operator, which refuses what it cannot say.

A rule returns the tensor that the call makes, or several as a tuple; None stands for one that cannot be said.
"""

from __future__ import annotations

from cnngen.spec.torch.call import Rule
from cnngen.spec.torch.rules import arithmetic, functions, images, layers, movement, reductions, windows

RULES: dict[str, Rule] = {
    **windows.RULES,
    **layers.RULES,
    **functions.RULES,
    **arithmetic.RULES,
    **reductions.RULES,
    **movement.RULES,
    **images.RULES,
}
"""Every operator that is imported whole; torch decomposes the others into these, or they are refused."""

REFUSED: frozenset[str] = frozenset(
    name for name, rule in RULES.items() if rule in (windows.three_dimensional, layers.recurrent)
)
"""Those whose rule only says why not."""
