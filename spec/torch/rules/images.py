"""Operators that resize images, sample them, and move pixels between channels and space."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cnngen.spec.importing.draft import Draft, RefusalError
from cnngen.spec.torch.call import Call, Rule
from cnngen.spec.torch.rules.windows import per_item

_MODES = {
    "nearest": "nearest",
    "linear": "linear",
    "bilinear": "linear",
    "trilinear": "linear",
    "bicubic": "cubic",
}


def upsample(call: Call) -> Draft:
    """upsample_nearest2d, _upsample_nearest_exact2d, upsample_bilinear2d, _upsample_bicubic2d_aa and the like."""
    x, after = call.tensor(), call.shape[2:]
    before = x.shape[2:]
    words = call.op.strip("_").split("_")
    mode = _MODES[words[1].rstrip("123d")] if words[1] != "nearest" else "nearest"
    factors = _factors(call, len(before))
    align = bool(call.get("align_corners"))
    whole = all(new % old == 0 for old, new in zip(before, after, strict=True))
    plain = factors is None or all(
        old * factor == new for old, factor, new in zip(before, factors, after, strict=True)
    )
    if after == before and plain and mode != "cubic" and "aa" not in words:
        return x
    simple = len(before) == 2 and "exact2d" not in words and "aa" not in words and mode != "cubic"
    if simple and (plain or align) and (mode == "linear" or _reads_floor(before, after)):
        fields: dict[str, object] = {"size": list(after)}
        if whole:
            fields = {"scale": [new // old for old, new in zip(before, after, strict=True)]}
        if mode == "linear":
            fields |= {"mode": "bilinear"} | ({"align_corners": True} if align else {})
        return call.draft("upsample", [x], fields)
    fields = {"mode": mode}
    if plain or align:
        fields["sizes"] = list(after)
    else:
        fields["scales"] = list(factors or ())
    if mode == "nearest":
        exact = any(word.startswith("exact") for word in words)
        fields |= (
            {"nearest": "round_prefer_ceil"} if exact else {"coordinates": "asymmetric", "nearest": "floor"}
        )
    elif align:
        fields["coordinates"] = "align_corners"
    if "aa" in words:
        fields |= {"antialias": True, "exclude_outside": True} | (
            {"cubic_coeff": -0.5} if mode == "cubic" else {}
        )
    return call.draft("resize", [x], fields)


def _factors(call: Call, count: int) -> list[float] | None:
    """The factors that the module names; None: the sizes decide."""
    given = call.get("scale_factors")
    named = [call.get(name) for name in ("scales_d", "scales_h", "scales_w", "scales")]
    factors = [
        float(x)
        for x in (given if isinstance(given, (list, tuple)) else named)
        if isinstance(x, (int, float))
    ]
    return factors if len(factors) == count else None


def _reads_floor(before: Sequence[int], after: Sequence[int]) -> bool:
    """Whether torch, which computes in float32, reads the pixels floor(y * in / out)."""
    for old, new in zip(before, after, strict=True):
        step = torch.tensor(old / new, dtype=torch.float32)
        theirs = (torch.arange(new, dtype=torch.float32) * step).floor().clamp(max=old - 1)
        if not torch.equal(theirs.long(), torch.arange(new) * old // new):
            return False
    return True


def pixel_shuffle(call: Call) -> Draft:
    """pixel_shuffle: channels to pixels; also for images with more or fewer axes before the channels."""
    fields: dict[str, object] = {"block": call.integer("upscale_factor"), "mode": "crd"}
    return _blocks(call, "depth_to_space", fields)


def pixel_unshuffle(call: Call) -> Draft:
    """pixel_unshuffle: pixels to channels."""
    fields: dict[str, object] = {"block": call.integer("downscale_factor"), "mode": "crd"}
    return _blocks(call, "space_to_depth", fields)


def _blocks(call: Call, op: str, fields: dict[str, object]) -> Draft:
    x = call.tensor()
    if len(x.shape) > 4:
        count = 1
        for size in x.shape[:-3]:
            count *= size
        result = call.draft(op, [call.reshape(x, (count, *x.shape[-3:]))], fields)
        return call.reshape(result, call.shape)
    return per_item(call, x, 2, lambda image: call.draft(op, [image], fields))


def channel_shuffle(call: Call) -> Draft:
    """channel_shuffle."""
    return call.draft("channel_shuffle", [call.tensor()], {"groups": call.integer("groups")})


def grid_sample(call: Call) -> Draft:
    """grid_sampler."""
    x, grid = call.tensor("input"), call.tensor("grid")
    if len(x.shape) != 4:
        raise RefusalError("only images [N, C, H, W] can be sampled")
    fields: dict[str, object] = {}
    mode = ("bilinear", "nearest", "bicubic")[call.integer("interpolation_mode")]
    padding = ("zeros", "border", "reflection")[call.integer("padding_mode")]
    if mode != "bilinear":
        fields["mode"] = mode
    if padding != "zeros":
        fields["padding"] = padding
    if call.get("align_corners"):
        fields["align_corners"] = True
    return call.draft("grid_sample", [x, grid], fields)


# fmt: off
_UPSAMPLE = (
    "upsample_nearest1d", "upsample_nearest2d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
    "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa", "upsample_nearest3d", "_upsample_nearest_exact3d", "upsample_trilinear3d",
)
# fmt: on

RULES: dict[str, Rule] = {
    **dict.fromkeys(_UPSAMPLE, upsample),
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "channel_shuffle": channel_shuffle,
    "native_channel_shuffle": channel_shuffle,
    "grid_sampler": grid_sample,
    "grid_sampler_2d": grid_sample,
}
