"""Where an op of the spec meets its meaning and its lowering."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnngen.codegen.graph import Array, Shape

if TYPE_CHECKING:
    from cnngen.codegen.lower import Lowering

Reference = Callable[[Any, Sequence[Array], Mapping[str, Array], Shape], Array]
Lower = Callable[["Lowering", Any, list[str], Shape], str]


@dataclass(frozen=True)
class OpRules:
    """The two halves of an op.

    `reference(layer, inputs, weights by role, shape)`: the op in numpy, for tests and verify.
    `lower(lowering, layer, inputs, shape)`: emits primitive forms and returns the name of the result.
    """

    reference: Reference
    lower: Lower
