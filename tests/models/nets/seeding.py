"""Seeded weights that keep values in range, and BatchNorm statistics that are not trivial."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)


def seeded(module: nn.Module, calibration: Tensor, seed: int = 0) -> nn.Module:
    """The module with new weights, ready for inference; `calibration` gives the BatchNorms their statistics."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, CONVOLUTIONS):
            transposed = isinstance(part, (nn.ConvTranspose1d, nn.ConvTranspose2d))
            reads = (
                part.weight.shape[0] * part.weight[0, 0].numel() / 4 if transposed else part.weight[0].numel()
            )
            part.weight.data = torch.randn(part.weight.shape, generator=generator) * math.sqrt(
                2 / max(reads, 1)
            )
            if part.bias is not None:
                part.bias.data = torch.randn(part.bias.shape, generator=generator) * 0.05
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        if norm.affine:
            norm.weight.data = 0.7 + 0.6 * torch.rand(norm.weight.shape, generator=generator)
            norm.bias.data = torch.randn(norm.bias.shape, generator=generator) * 0.1
    if norms:
        module.train()
        with torch.no_grad():
            module(calibration)
        for norm in norms:
            deviation = norm.running_var.sqrt()
            norm.running_mean += deviation * 0.1 * torch.randn(deviation.shape, generator=generator)
            norm.running_var *= 0.8 + 0.4 * torch.rand(deviation.shape, generator=generator)
            norm.momentum = 0.1
    return module.eval()
