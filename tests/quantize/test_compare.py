"""Layer by layer: the ranking, and the recipe fragment that comes with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_models import bert_graph, encoder, graph_of, pictures, sentences

from intformer.errors import InputError
from intformer.quantize.api import quantize
from intformer.quantize.compare import compare

TEST = [pictures(8, 9), pictures(8, 10)]
CALIBRATION = [pictures(16, 1)]


def test_values_are_ranked_worst_first() -> None:
    graph = graph_of(encoder())
    layers = compare(graph, quantize(graph, CALIBRATION, {"activation_bits": 6}), TEST)
    found = [layer.snr_db for layer in layers]
    assert found == sorted(found) and len(layers) >= 8
    assert 5 < found[0] < found[-1]
    assert {layer.name for layer in layers} <= {node.output for node in graph}


def test_more_bits_raise_every_value() -> None:
    graph = graph_of(encoder())
    coarse, fine = (
        {x.name: x.snr_db for x in compare(graph, quantize(graph, CALIBRATION, recipe), TEST)}
        for recipe in ({"activation_bits": 4, "weight_bits": 4}, "intformer")
    )
    better = [fine[name] > coarse[name] + 6 for name in coarse.keys() & fine.keys()]
    assert len(better) >= 8 and np.mean(better) > 0.8


def test_the_fix_is_a_recipe_and_raises_the_layer(tmp_path: Path) -> None:
    graph = graph_of(encoder())
    coarse = {"activation_bits": 6}
    layers = compare(graph, quantize(graph, CALIBRATION, coarse), TEST)
    worst = next(layer for layer in layers if layer.fix)
    path = tmp_path / "fixed.toml"
    path.write_text(f"activation_bits = 6\n{worst.fix}\n")
    after = compare(graph, quantize(graph, CALIBRATION, path), TEST)
    fixed = {layer.name: layer.snr_db for layer in after}
    assert fixed[worst.name] > worst.snr_db + 0.5


def test_text_models() -> None:
    graph = bert_graph()
    layers = compare(graph, quantize(graph, [sentences(32, 1)]), [sentences(8, 9)])
    assert layers[0].snr_db > 10


def test_a_program_of_another_model_is_refused() -> None:
    program = quantize(bert_graph(), [sentences(8, 1)])
    with pytest.raises(InputError, match="not made from this model"):
        compare(graph_of(encoder()), program, TEST)
