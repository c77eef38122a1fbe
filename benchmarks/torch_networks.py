"""The three full-size networks in plain PyTorch, to compare with: channels first, random."""

from collections.abc import Sequence

import torch
from torch import nn


def norm(features: int) -> nn.Module:
    return nn.BatchNorm2d(features)


def conv(inputs: int, outputs: int, size: int, stride: int = 1, bias: bool = False) -> nn.Module:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=bias)


class Residual(nn.Module):
    """The sum of two branches."""

    def __init__(self, main: nn.Module, shortcut: nn.Module, last: nn.Module):
        super().__init__()
        self.main, self.shortcut, self.last = main, shortcut, last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.main(x) + self.shortcut(x))


def resnet50(outputs: int) -> nn.Module:
    """torchvision's ResNet-50 with another last layer."""
    layers = [conv(3, 64, 7, 2), norm(64), nn.ReLU(True), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            main = nn.Sequential(
                *(conv(inputs, width, 1), norm(width), nn.ReLU(True)),
                *(conv(width, width, 3, stride), norm(width), nn.ReLU(True)),
                *(conv(width, 4 * width, 1), norm(4 * width)),
            )
            shortcut = nn.Sequential(conv(inputs, 4 * width, 1, stride), norm(4 * width))
            layers.append(Residual(main, nn.Identity() if block else shortcut, nn.ReLU(True)))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, outputs))


def iresnet(stage_sizes: Sequence[int] = (3, 4, 14, 3), *, shallow: bool = False) -> nn.Module:
    """insightface's iResNet-50; `shallow` is its first stage alone."""
    layers = [conv(3, 64, 3), norm(64), nn.PReLU(64)]
    inputs = 64
    for stage, blocks in enumerate(stage_sizes[: 1 if shallow else None]):
        width = 64 * 2**stage
        for block in range(blocks):
            stride = 1 if block else 2
            main = nn.Sequential(
                *(norm(inputs), conv(inputs, width, 3), norm(width), nn.PReLU(width)),
                *(conv(width, width, 3, stride), norm(width)),
            )
            shortcut = nn.Sequential(conv(inputs, width, 1, stride), norm(width))
            layers.append(Residual(main, nn.Identity() if block else shortcut, nn.Identity()))
            inputs = width
    if not shallow:
        layers += [norm(512), nn.Flatten(), nn.Linear(512 * 49, 512), nn.BatchNorm1d(512)]
    return nn.Sequential(*layers).eval().requires_grad_(False)


class UNet(nn.Module):
    """The release's segmenter: 34.5 million parameters, rendering and photo in, one logit out."""

    def __init__(self, width: int = 64):
        super().__init__()

        def twice(inputs: int, outputs: int, dropout: float = 0.0) -> nn.Module:
            return nn.Sequential(
                *(conv(inputs, outputs, 3, bias=True), norm(outputs), nn.ReLU(True)),
                *(conv(outputs, outputs, 3, bias=True), norm(outputs), nn.ReLU(True)),
                nn.Dropout(dropout),
            )

        widths = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(
            twice(i, o, 0.5 if level >= 3 else 0.0)
            for level, (i, o) in enumerate(zip([6, *widths[:-1]], widths, strict=True))
        )
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2), conv(2 * w, w, 3, bias=True), norm(w), nn.ReLU(True)
            )
            for w in widths[:-1]
        )
        self.merge = nn.ModuleList(twice(2 * w, w) for w in widths[:-1])
        self.head = conv(width, 1, 1, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for level, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for level in (3, 2, 1, 0):
            x = self.merge[level](torch.cat([skips[level], self.up[level](x)], 1))
        return self.head(x)
