"""Random calls of the checks in gemm_checks.hpp: each kernel's type and arguments."""

from __future__ import annotations

import random
from collections.abc import Iterator

from .kernel_shapes import CASES, SIZE, aggregate, window

# Of implicit_gemm: the fields of its shape that a random window gives.
GEMM_FIELDS = "r s stride_h stride_w dilation_h dilation_w pad_top pad_left".split()  # noqa: SIM905


def implicit_gemm(rng: random.Random) -> Iterator[tuple[str, str]]:
    tiles = [(m, n, k) for m in (16, 32, 64) for n in (16, 32, 64) for k in (32, 64)]
    for _ in range(2 * CASES):
        m, n, k = rng.choice(tiles)
        warps = [
            (a, b)
            for a in (1, 2, 4)
            for b in (1, 2)
            if m % (16 * a) == 0 and n % (16 * b) == 0 and max(1, 32 * a * b * 8 // k) <= min(m, n)
        ]
        warps_m, warps_n = rng.choice(warps)
        split = rng.choice((1, 1, 2, 4, 8))
        v = rng.choice((8, 8, 8, 4, 2, 1) if split == 1 else (8, 8, 4))
        tile = aggregate(
            "GemmTile",
            m=m,
            n=n,
            k=k,
            warps_m=warps_m,
            warps_n=warps_n,
            stages=rng.choice((2, 3, 4)),
            split=split,
            v=v,
            **({"interleaves": "true"} if (phased := rng.random() < 0.3) else {}),
        )
        shape = gemm_shape(rng, window(rng), v, phased=phased)
        x, y = rng.choice(("half", "bfloat16")), rng.choice(tuple(SIZE))
        yield f"implicit_gemm<{x}, {y}, {tile}>", f"{rng.randint(1, 3)}, {shape}"


def gemm_shape(
    rng: random.Random, fields: dict[str, int], v: int, *, phased: bool, filters: int | None = None
) -> str:
    c, filters = 8 * rng.randint(1, 9), filters or v * rng.randint(1, 80 // v)
    phases: dict[str, int] = {}
    if phased:
        across, along = rng.choice(((2, 2), (1, 2), (3, 2)))
        phases = {"phases_h": across, "phases_w": along}
        phases |= {"y_h": fields["oh"] * across - rng.randint(0, across - 1)}
        phases |= {"y_w": fields["ow"] * along - rng.randint(0, along - 1)}
        filters = min(filters, v * rng.randint(1, max(1, 20 // v)))
    size = {name: fields[name] for name in ("h", "w")}
    out = {name: fields[name] for name in ("oh", "ow")}
    pixel = {"x_pixel": c + 8 * rng.randint(0, 2), "y_pixel": filters + v * rng.randint(0, 2)}
    geometry = {name: fields[name] for name in GEMM_FIELDS}
    k = filters * phases.get("phases_h", 1) * phases.get("phases_w", 1)
    return aggregate("GemmShape", c=c, **size, k=k, **out, **geometry, **phases, **pixel)


def direct_gemm(rng: random.Random) -> Iterator[tuple[str, str]]:
    for _ in range(CASES):
        v, phased = rng.choice((8, 8, 4, 2, 1)), rng.random() < 0.3
        interleaves = {"interleaves": "true"} if phased else {}
        tile = aggregate(
            "DirectGemmTile",
            m=rng.choice((16, 32)),
            n=rng.choice((32, 64, 96)),
            warps=rng.choice((1, 2, 4)),
            v=v,
            **interleaves,
        )
        x, y = rng.choice(("half", "bfloat16")), rng.choice(tuple(SIZE))
        shape = gemm_shape(rng, window(rng), v, phased=phased)
        yield f"direct_gemm<{x}, {y}, {tile}>", f"{rng.randint(1, 3)}, {shape}"


def window_gemm(rng: random.Random) -> Iterator[tuple[str, str]]:
    for _ in range(CASES // 2):
        n, k = rng.choice((8, 8, 16, 32)), rng.choice((32, 64))
        h, w, warps = rng.choice(((2, 16, 1), (2, 16, 2), (4, 16, 2), (3, 32, 3), (4, 32, 4)))
        v = rng.choice((8, 8, 4, 2, 1))
        phased = {"interleaves": "true"} if rng.random() < 0.3 else {}
        tile = aggregate(
            "WindowGemmTile", h=h, w=w, n=n, k=k, warps=warps, stages=rng.choice((1, 2)), v=v, **phased
        )
        shape = gemm_shape(rng, window(rng, strides=(1,)), v, phased=bool(phased))
        x, y = rng.choice(("half", "bfloat16")), rng.choice(tuple(SIZE))
        yield f"window_gemm<{x}, {y}, {tile}>", f"{rng.randint(1, 3)}, {shape}"


def tap_gemm(rng: random.Random) -> Iterator[tuple[str, str]]:
    for _ in range(CASES // 2):
        fields = window(rng, strides=(1,))
        v, phased = rng.choice((1, 1, 2, 4)), rng.random() < 0.3
        taps = fields["r"] * fields["s"]
        filters = v * rng.randint(1, max(1, 64 // (6 * v * taps)))
        n = -(-(6 if phased else 1) * filters * taps // 8) * 8  # as many as the most phases have
        h, w, warps = rng.choice(((2, 16, 1), (1, 8, 2), (3, 5, 3), (4, 32, 4)))
        interleaves = {"interleaves": "true"} if phased else {}
        tile = aggregate("TapGemmTile", h=h, w=w, n=n, warps=warps, v=v, **interleaves)
        shape = gemm_shape(rng, fields, v, phased=phased, filters=filters)
        x, y = rng.choice(("half", "bfloat16")), rng.choice(tuple(SIZE))
        yield f"tap_gemm<{x}, {y}, {tile}>", f"{rng.randint(1, 3)}, {shape}"


GEMMS = (implicit_gemm, direct_gemm, window_gemm, tap_gemm)
