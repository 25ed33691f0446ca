"""Quantize a module of your own, save and run it. Usage: quantize_module.py OUT.onnx"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor, nn

import intformer
from intformer.frontend import capture


class TinyViT(nn.Module):
    """One Transformer block on 4x4 patches of a 32x32 image; the weights stand for trained ones."""

    def __init__(self, width: int = 32, heads: int = 2, classes: int = 5) -> None:
        super().__init__()
        self.heads = heads
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        n, t, c = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(mixed.transpose(1, 2).reshape(n, t, c))
        x = x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))
        return self.head(x.mean(1))


def main(path: str) -> None:
    torch.manual_seed(0)
    model = TinyViT().eval()
    # Calibration data are raw pixels, channels last: use a few hundred real images here.
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3), dtype=np.uint8)

    graph = capture(model, (torch.zeros(2, 3, 32, 32),), names=["pixels"], outputs=["logits"])
    program = intformer.quantize(graph, [pixels], mean=(0.5,) * 3, std=(0.25,) * 3)
    program.save(path)

    normalised = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.inference_mode():
        wanted = model(normalised).numpy()
    found = intformer.load(path).run({"pixels": pixels})
    noise = found["logits"] * program.scales["logits"]["scale"] - wanted
    print(f"widest value: {program.verify().accumulator_bits} bits")
    print(f"same label as float: {(found['label'] == wanted.argmax(1)).mean():.0%}")
    print(f"signal to noise: {10 * np.log10((wanted**2).sum() / (noise**2).sum()):.1f} dB")


if __name__ == "__main__":
    main(sys.argv[1])
