"""The HTML page: complete, correct and self-contained."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from intformer.evaluate.accuracy import accuracy
from intformer.evaluate.datasets import open_images
from intformer.evaluate.report import Layer, Picture, Report, render, value_ranges, write_report
from intformer.evaluate.showcase import classify_some, result_rows
from intformer.evaluate.summary import (
    bits,
    exact_bits,
    float_bytes,
    observed_ranges,
    summarize,
)
from intformer.ir.verify import verify
from tiny_models import (
    ReferenceProgram,
    float_classifier,
    integer_classifier,
    picture,
    write_parquet,
)

WANTED = [
    "Tiny <b>",
    "A & B",
    "91.50 %",
    "blocks.0.attn",
    "9.5 dB",
    "41.0 dB",
    "head.linear",
    "weights",
    "768",
    "requantize",
    "a machine",
    "uint8[N, 8, 8, 3]",
]


class Page(HTMLParser):
    """Collects links, images and text, and checks that tags are balanced."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.sources += [v for k, v in attrs if k in ("src", "href", "data") and v]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def graph():
    return integer_classifier()


@pytest.fixture
def report(graph):
    proof = verify(graph)
    pixels = np.stack([np.asarray(picture(i)) for i in range(4)])
    used = observed_ranges(graph, {"pixels": pixels})
    return Report(
        title="Tiny <b>",
        subtitle="A & B",
        summary=summarize(graph, proof),
        tiles=[("91.50 %", "top-1")],
        results=[("top-1", "92.00 %", "91.50 %")],
        gallery=[Picture(pixels[0], "ant", "ant", "bee"), Picture(pixels[1], "cat", "dog", "cat")],
        layers=[Layer("blocks.0.attn", "attention", 9.5), Layer("head", "linear", 41.0)],
        ranges=value_ranges(graph, proof, used),
        facts={"machine": "a machine"},
    )


def test_page_is_balanced_and_refers_to_nothing_outside(report):
    page = Page(render(report))
    assert len(page.sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "http" not in render(report)


def test_page_shows_everything_and_escapes_text(report):
    text = " ".join(Page(render(report)).words)
    for wanted in WANTED:
        assert wanted in text


def test_pictures_survive(report):
    import base64
    import io

    from PIL import Image

    content = base64.b64decode(report.gallery[1].source.partition(",")[2])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), np.asarray(picture(1)))


def test_page_without_optional_parts(graph, tmp_path):
    write_report(Report("T", "S", summarize(graph)), tmp_path / "x.html")
    text = " ".join(Page((tmp_path / "x.html").read_text()).words)
    assert "Where the bytes are" in text
    assert "Predictions" not in text
    assert "Signal-to-noise" not in text


@pytest.mark.parametrize(
    ("ratio", "level"), [(40, "good"), (20, "fair"), (3, "poor"), (-5, "poor")]
)
def test_layer_levels(ratio, level):
    layer = Layer("x", "linear", ratio)
    assert layer.level == level
    assert 1 <= layer.percent <= 100


def test_infinite_ratio_is_shown():
    assert Layer("x", "linear", float("inf")).percent == 100


def test_summary_counts_what_is_there(graph):
    summary = summarize(graph)
    assert summary.operators == {"reshape": 1, "linear": 1, "requantize": 1}
    assert summary.elements_by_class == {"weights": 768, "biases": 4, "requantization": 2}
    assert summary.bytes_by_class == {"weights": 768, "biases": 16, "requantization": 12}
    assert float_bytes(summary) == 4 * 772
    assert summary.parameters == 768
    assert [entry[0] for entry in summary.widest] == ["head.linear"]


def test_observed_ranges_lie_within_the_proof(graph):
    pixels = np.stack([np.asarray(picture(i)) for i in range(8)])
    used, proved = observed_ranges(graph, {"pixels": pixels}), verify(graph).ranges
    assert set(used) == {node.output for node in graph}
    for name, (low, high) in used.items():
        assert proved[name][0] <= low <= high <= proved[name][1]
    assert used["reshape"] == (pixels.min(), pixels.max())
    for value in value_ranges(graph, verify(graph), used):
        assert value.used_bits <= value.proved_bits <= value.width


@pytest.mark.parametrize(
    ("bounds", "count"),
    [((0, 0), 1), ((0, 1), 1), ((0, 255), 8), ((0, 256), 9), ((-1, 0), 1), ((-128, 127), 8),
     ((-129, 0), 9), ((-1, 128), 9), ((-(2**31), 2**31 - 1), 32)],
)  # fmt: skip
def test_bits(bounds, count):
    assert bits(bounds) == count


def test_exact_bits():
    assert exact_bits((-128, 127)) == 8
    assert exact_bits((0, 0)) == 1
    assert 8 < exact_bits((-150, 3)) < 9


def test_gallery_has_the_labels_of_both_models(graph, tmp_path):
    labels = [i % 4 for i in range(12)]
    data = open_images(write_parquet(tmp_path / "x.parquet", labels=labels))
    pictures, pixels = classify_some(ReferenceProgram(graph), float_classifier(), data, 6)
    assert [p.truth for p in pictures] == [["ant", "bee", "cat", "dog"][i] for i in labels[::2]]
    logits = ReferenceProgram(graph).run({"pixels": pixels})["logits"]
    expected = [["ant", "bee", "cat", "dog"][i] for i in logits.argmax(1)]
    assert [p.integer for p in pictures] == expected == [p.float for p in pictures]


def test_result_rows(graph, tmp_path):
    data = open_images(write_parquet(tmp_path / "x.parquet", labels=[0] * 12))
    measured = accuracy(ReferenceProgram(graph), data, source=float_classifier())
    rows = {what: (theirs, ours) for what, theirs, ours in result_rows(measured, 4000, 1000)}
    assert rows["top-1"][0] == rows["top-1"][1] == f"{measured.top1:.2f} %"
    assert rows["same label as the float model"] == ("", "100.00 %")
    assert rows["size"] == ("0.00 MB", "0.00 MB (25.0 %)")


def test_a_byte_of_packed_weights_counts_twice(graph):
    summary = replace(summarize(graph), elements_by_class={"packed weights": 10, "biases": 3})
    assert float_bytes(summary) == 4 * (2 * 10 + 3)
