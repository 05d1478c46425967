"""Element types, layouts, precision, and the small field types that the ops share."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

DType = Literal["float32", "float16", "bfloat16"]
ElementType = Literal["float32", "float16", "bfloat16", "int32", "int64", "uint8", "bool"]
"""What a user's array and the result of `cast` may hold; what is computed with is a `DType`."""
TensorLayout = Literal["NCHW", "NHWC"]
Shape = tuple[int, ...]


def _a_number(value: float) -> float:
    if math.isnan(value):
        raise PydanticCustomError("number", "expected a number or an infinity, got nan")
    return value


Positive = Annotated[int, Field(strict=True, ge=1)]
NonNegative = Annotated[int, Field(strict=True, ge=0)]
Integer = Annotated[int, Field(strict=True)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
RealOrInfinite = Annotated[float, Field(strict=True), AfterValidator(_a_number)]
Flag = Annotated[bool, Field(strict=True)]


class Model(BaseModel):
    """The base of every model of the spec: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Precision(Model):
    """Storage type, compute type and TF32; `float16` alone means `{storage: float16}`."""

    storage: DType = Field(default="float32", description="type of weights and activations in memory")
    compute: Literal["float32"] = Field(
        default="float32", description="type of sums and of pointwise arithmetic"
    )
    tf32: Flag = Field(
        default=False, description="float32 storage only: let tensor cores round factors to TF32"
    )

    @model_validator(mode="after")
    def _tf32_is_for_float32(self) -> Precision:
        if self.tf32 and self.storage != "float32":
            raise PydanticCustomError(
                "tf32", "tf32: true needs storage float32, got {got}", {"got": self.storage}
            )
        return self


def _shorthand(value: object) -> object:
    return {"storage": value} if isinstance(value, str) else value


PrecisionField = Annotated[Precision, BeforeValidator(_shorthand, json_schema_input_type=DType | Precision)]


def _pair(value: object) -> object:
    """3 -> (3, 3); [3, 5] -> (3, 5), height first."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise PydanticCustomError(
            "pair", "expected a number or [height, width], got {got}", {"got": _show(value)}
        )
    return tuple(value)


def _sides(value: object, also: str = "", spatial: int = 2) -> object:
    """1 -> (1, 1, 1, 1); [h, w] -> (h, w, h, w); [top, left, bottom, right] as it is; [left, right] in 1-d."""
    items = [value] if isinstance(value, int) else value
    if (
        isinstance(items, (list, tuple))
        and len(items) in {1, spatial, 2 * spatial}
        and all(type(item) is int and item >= 0 for item in items)
    ):
        return tuple(items) * (2 * spatial // len(items))
    also = f", {also}" if also else ""
    forms = (
        f"{also} or [left, right]"
        if spatial == 1
        else f", [height, width]{also} or [top, left, bottom, right]"
    )
    raise PydanticCustomError(
        "sides", "expected a number{forms}, none negative, got {got}", {"got": _show(value), "forms": forms}
    )


def _sides_or_same(value: object) -> object:
    return value if value in ("same", "same_lower") else _sides(value, '"same", "same_lower"')


def _sides1(value: object) -> object:
    return _sides(value, spatial=1)


def _sides1_or_same(value: object) -> object:
    return value if value in ("same", "same_lower") else _sides(value, '"same", "same_lower"', spatial=1)


def _show(value: object) -> str:
    return repr(list(value)) if isinstance(value, tuple) else repr(value)


def _numbers(*lengths: int, minimum: int) -> list[dict[str, Any]]:
    item = {"type": "integer", "minimum": minimum}
    return [item, *({"type": "array", "items": item, "minItems": n, "maxItems": n} for n in lengths)]


Size2 = Annotated[
    tuple[Positive, Positive], BeforeValidator(_pair), WithJsonSchema({"anyOf": _numbers(2, minimum=1)})
]
"""(height, width), each at least 1; one number means both."""

Pair0 = Annotated[
    tuple[NonNegative, NonNegative], BeforeValidator(_pair), WithJsonSchema({"anyOf": _numbers(2, minimum=0)})
]
"""(height, width), each at least 0; one number means both."""

Sides = Annotated[
    tuple[NonNegative, NonNegative, NonNegative, NonNegative],
    BeforeValidator(_sides),
    WithJsonSchema({"anyOf": _numbers(2, 4, minimum=0)}),
]
"""(top, left, bottom, right)."""

Padding = Annotated[
    tuple[NonNegative, NonNegative, NonNegative, NonNegative] | Literal["same", "same_lower"],
    BeforeValidator(_sides_or_same),
    WithJsonSchema({"anyOf": [*_numbers(2, 4, minimum=0), {"enum": ["same", "same_lower"]}]}),
]
"""(top, left, bottom, right), or "same": ceil(size / stride) outputs, an odd row or column of zeros at the
end ("same_lower": at the beginning)."""

Size1 = Positive
"""A length, at least 1."""

Sides1 = Annotated[
    tuple[NonNegative, NonNegative],
    BeforeValidator(_sides1),
    WithJsonSchema({"anyOf": _numbers(2, minimum=0)}),
]
"""(left, right)."""

Padding1 = Annotated[
    tuple[NonNegative, NonNegative] | Literal["same", "same_lower"],
    BeforeValidator(_sides1_or_same),
    WithJsonSchema({"anyOf": [*_numbers(2, minimum=0), {"enum": ["same", "same_lower"]}]}),
]
"""(left, right), or as in `Padding`."""
