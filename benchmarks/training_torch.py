"""The U-Net of cinesax in PyTorch, trained on noise of the same size: images a second of each epoch, as JSON.

    PYTHON benchmarks/training_torch.py EPOCHS STEPS THREADS

Run by training.py in an environment of its own; it needs torch and nothing else.
"""

import json
import sys
import time

import torch
from torch import nn

CHANNELS, STEM, CLASSES, DROPOUT = (24, 48, 96, 128, 160), 16, 2, 0.2
BATCH, CROP = 8, 160


def block(before: int, after: int) -> nn.Sequential:
    """Twice convolution, normalisation, ReLU."""
    parts: list[nn.Module] = []
    for channels in (before, after):
        parts += [
            nn.Conv2d(channels, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after, momentum=0.02),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*parts)


class UNet(nn.Module):
    """The network of `cinesax.train.nets.unet`, layer by layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, STEM, 4, stride=2, padding=1), nn.ReLU(inplace=True))
        widths = (STEM, *CHANNELS[:-1])
        self.down = nn.ModuleList(block(a, b) for a, b in zip(widths, CHANNELS[:-1], strict=False))
        self.bottom = nn.Sequential(block(CHANNELS[-2], CHANNELS[-1]), nn.Dropout(DROPOUT))
        pairs = list(zip(CHANNELS[:0:-1], CHANNELS[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
        self.merge = nn.ModuleList(block(2 * b, b) for _, b in pairs)
        self.logits = nn.ConvTranspose2d(CHANNELS[0], CLASSES, 4, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, 1, row, column) -> logits (batch, classes, row, column)."""
        x = self.stem(4 * x - 1)
        skips = []
        for part in self.down:
            x = part(x)
            skips.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.bottom(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            x = merge(torch.cat([up(x), skip], dim=1))
        return self.logits(x)


def main() -> None:
    """Train and print."""
    epochs, steps, threads = map(int, sys.argv[1:4])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = UNet().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    images = torch.rand(steps * BATCH, 1, CROP, CROP).contiguous(memory_format=torch.channels_last)
    labels = (images[:, 0] > 0.9).long()
    speeds = []
    for _ in range(epochs):
        began = time.perf_counter()
        for first in range(0, len(images), BATCH):
            optimizer.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(model(images[first : first + BATCH]), labels[first : first + BATCH])
            loss.backward()
            optimizer.step()
        speeds.append(len(images) / (time.perf_counter() - began))
    sys.stderr.write(f"{sum(p.numel() for p in model.parameters())} parameters\n")
    sys.stdout.write(json.dumps(speeds) + "\n")


if __name__ == "__main__":
    main()
