"""CREPE, a pitch detector of one-dimensional convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = {"full": (1024, 128, 128, 128, 256, 512), "tiny": (128, 16, 16, 16, 32, 64)}


class Crepe(nn.Module):
    """As torchcrepe names it: BatchNorm behind the activation, so that it folds into no convolution before it."""

    def __init__(self, size: str = "tiny") -> None:
        super().__init__()
        widths = WIDTHS[size]
        for k, (c, out) in enumerate(zip((1, *widths), widths, strict=False)):
            kernel, stride = ((512, 1), (4, 1)) if k == 0 else ((64, 1), (1, 1))
            setattr(self, f"conv{k + 1}", nn.Conv2d(c, out, kernel, stride))
            setattr(self, f"conv{k + 1}_BN", nn.BatchNorm2d(out, eps=0.0010000000474974513, momentum=0.0))
        self.features = 4 * widths[-1]
        self.classifier = nn.Linear(self.features, 360)

    def forward(self, x: Tensor) -> Tensor:
        """Frames [N, 1024] -> probabilities [N, 360]."""
        x = x[:, None, :, None]
        for k in range(6):
            x = functional.pad(x, (0, 0, 254, 254) if k == 0 else (0, 0, 31, 32))
            x = getattr(self, f"conv{k + 1}_BN")(functional.relu(getattr(self, f"conv{k + 1}")(x)))
            x = functional.max_pool2d(x, (2, 1), (2, 1))
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).reshape(-1, self.features)))
