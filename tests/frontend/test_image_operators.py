"""Operators of feature maps: the captured graph against torch, and the bytes of its program."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from frontend_models import awake, check_graph, error, images, run
from torch import Tensor, nn

import intformer
from intformer import artifact
from intformer.errors import CaptureError
from intformer.frontend.capture import capture
from intformer.reference import interpret

SIZE = 12
QUICK = {"name": "quick", "rounding": "nearest", "bias_correction": False, "equalize": False}


class Mapped(nn.Module):
    """An embedding convolution, then a function of its feature map."""

    def __init__(self, function, channels: int = 8, **modules: nn.Module | Tensor) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, 1, 1)
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, self.stem(x))


def windows(x: Tensor, size: int) -> Tensor:
    """[N, C, H, W] -> [N·windows, C, size, size]."""
    n, c, h, w = x.shape
    apart = x.reshape(n, c, h // size, size, w // size, size).permute(0, 2, 4, 1, 3, 5)
    return apart.reshape(-1, c, size, size)


def joined(x: Tensor, n: int) -> Tensor:
    """Whatever became of the windows of an image, side by side."""
    return x.reshape(n, -1, *x.shape[1:])


def same_maximum(m: nn.Module, x: Tensor) -> Tensor:
    return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)


def of_windows(m: nn.Module, x: Tensor) -> Tensor:
    return joined(m.layer(windows(x, 4)), x.shape[0])


def relative_rows(m: nn.Module, x: Tensor) -> Tensor:
    return torch.einsum("bchw,hkc->bhwk", x, m.table.weight.reshape(SIZE, 5, 8))


def both_computed(m: nn.Module, x: Tensor) -> Tensor:
    return torch.einsum("bchw,bcvw->bhvw", x, torch.tanh(x))


def table_first(m: nn.Module, x: Tensor) -> Tensor:
    return torch.einsum("ko,bohw->kbhw", m.table.weight, x).transpose(0, 1)


def wide_values(m: nn.Module, x: Tensor) -> Tensor:
    q = x.flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(q, torch.tanh(q), torch.cat([q, q], 2))


def heads_of_wide_values(m: nn.Module, x: Tensor) -> Tensor:
    q = x.flatten(2).unflatten(1, (2, 4)).transpose(2, 3)
    return F.scaled_dot_product_attention(q, q, torch.cat([q, q], 3))


def assigned(m: nn.Module, x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 2:5, 1:] = y[:, 2:5, 1:] + torch.tanh(x[:, :3, :1])
    y[:, 0] = x[:, 1]
    return y


def half_precision_off(m: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return torch.relu(x.float()) + x


def columns_and_back(m: nn.Module, x: Tensor) -> Tensor:
    columns = torch.tanh(F.unfold(x, 3, padding=1, stride=2))
    return F.fold(columns, (SIZE, SIZE), 3, padding=1, stride=2)


def repeated(m: nn.Module, x: Tensor) -> Tensor:
    pooled = x.mean((2, 3)).repeat_interleave(9, dim=0)
    return joined(windows(x, 4).flatten(2) * pooled[:, :, None], x.shape[0])


def one_row(m: nn.Module, x: Tensor) -> Tensor:
    return F.avg_pool1d(m.layer(x.flatten(2)), 4, 4)


LAYERS = {
    "maximum with -inf around": (same_maximum, {}),
    "a number around": (lambda m, x: F.pad(x, (0, 1, 2, 0), value=1.0), {}),
    "convolution of windows": (of_windows, {"layer": nn.Conv2d(8, 6, 1)}),
    "padded convolution of windows": (of_windows, {"layer": nn.Conv2d(8, 6, 3, 2, 1)}),
    "convolution of windows in steps": (of_windows, {"layer": nn.Conv2d(8, 6, 2, 3, 1)}),
    "channels of windows": (of_windows, {"layer": nn.Conv2d(8, 8, 3, 1, 1, groups=8)}),
    "groups of windows": (of_windows, {"layer": nn.Conv2d(8, 12, 3, 1, 1, groups=4)}),
    "pointwise groups": (of_windows, {"layer": nn.Conv2d(8, 12, 1, groups=4)}),
    "too many pointwise groups": (
        lambda m, x: m.layer(torch.cat([x, torch.tanh(x)] * 32, 1)),
        {"layer": nn.Conv2d(512, 64, 1, groups=32)},
    ),
    "maximum of windows": (of_windows, {"layer": nn.MaxPool2d(3, 2, 1)}),
    "einsum with a table": (relative_rows, {"table": nn.Linear(8, SIZE * 5, bias=False)}),
    "einsum of two values": (both_computed, {}),
    "einsum, table first": (table_first, {"table": nn.Linear(8, 5, bias=False)}),
    "values wider than queries": (wide_values, {}),
    "heads with wider values": (heads_of_wide_values, {}),
    "assignment": (assigned, {}),
    "autocast": (half_precision_off, {}),
    "unfold and fold": (columns_and_back, {}),
    "repeated images": (repeated, {}),
    "one row": (one_row, {"layer": nn.Conv1d(8, 5, 3, 2, 1)}),
    "group norm over many": (
        lambda m, x: m.layer(torch.cat([x, torch.tanh(x)] * 4, 1)),
        {"layer": nn.GroupNorm(1, 64)},
    ),
    "group norm over many, two groups": (
        lambda m, x: m.layer(torch.cat([x, torch.tanh(x)] * 8, 1)),
        {"layer": nn.GroupNorm(2, 128, affine=False)},
    ),
    "group norm over many in a row": (
        lambda m, x: m.layer(torch.cat([x, torch.tanh(x)] * 8, 1).flatten(2)),
        {"layer": nn.GroupNorm(2, 128)},
    ),
    "product added": (lambda m, x: torch.addcmul(x, torch.tanh(x), x * 0.3, value=0.5), {}),
    "nothing before it": (lambda m, x: torch.cat([x[:, :, :0], torch.tanh(x)], 2) + x, {}),
    "bounds in buffers": (
        lambda m, x: torch.clamp(x, m.low, m.high),
        {"low": torch.tensor(-0.2), "high": torch.tensor(torch.inf)},
    ),
    "mean of almost nothing": (
        lambda m, x: x + (x - x.mean((2, 3), keepdim=True)).mean((2, 3), keepdim=True),
        {},
    ),
    "transposed": (
        lambda m, x: m.layer(x),
        {"layer": nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=1)},
    ),
    "transposed, by channel": (
        lambda m, x: m.layer(x),
        {"layer": nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=8)},
    ),
    "transposed, groups": (
        lambda m, x: m.layer(x),
        {"layer": nn.ConvTranspose2d(8, 4, 2, 2, groups=2, bias=False)},
    ),
}


def check(model: nn.Module) -> None:
    """The graph computes what torch does; every engine gives the bytes of the reference."""
    graph = capture(model, (images(2, SIZE),), names=["pixels"], outputs=["y"])
    check_graph(graph)
    x = images(3, SIZE)
    assert error(run(graph, {"pixels": x})["y"], model(x)) < 1e-5
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    program = intformer.quantize(graph, [pixels], QUICK)
    (wanted,) = interpret(program.graph, {"pixels": pixels}).values()
    assert np.ptp(wanted.astype(int)) > 1000
    assert np.array_equal(program.run({"pixels": pixels})["y"], wanted)
    content = artifact.to_onnx(program.graph, flat=True).SerializeToString()
    (found,) = onnxruntime.InferenceSession(content).run(["y"], {"pixels": pixels})
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name):
    function, modules = LAYERS[name]
    check(awake(Mapped(function, **modules)))


class Patches(nn.Module):
    """Patches cut out by moves, and a smaller copy of the image: pixels read by no convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.large, self.small = nn.Linear(48, 8), nn.Conv2d(3, 8, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        cut = x.reshape(n, 3, 3, 4, 3, 4).permute(0, 2, 4, 3, 5, 1).reshape(n, 9, 48)
        small = F.interpolate(x, (9, 9), mode="bilinear", align_corners=False)
        return self.large(cut) + self.small(small).flatten(2).transpose(1, 2)


def test_pixels_without_a_convolution():
    check(awake(Patches()))


def test_deep_models():
    """A program may be deeper than Python's stack of calls."""
    deep = nn.Sequential(nn.Conv2d(3, 4, 4, 4), *(nn.ReLU6() for _ in range(700)))
    graph = capture(deep, (images(2, SIZE),), names=["pixels"])
    pixels = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    assert len(intformer.quantize(graph, [pixels], QUICK).graph.nodes) > 700


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda m, x: F.max_pool2d(F.pad(x, (4, 0, 0, 0), value=-torch.inf), 2), "lies outside"),
        (lambda m, x: F.pad(x, (1, 1), mode="reflect"), "padding"),
        (lambda m, x: torch.einsum("nchw,ndhw->nh", x, x), "each letter once"),
    ],
)
def test_refused(function, words):
    with pytest.raises(CaptureError, match=words):
        capture(awake(Mapped(function)), (images(2, SIZE),), names=["pixels"])
