"""Language and translation models of transformers: from a local folder to steps of decoding."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from frontend_models import check_graph, error, run
from hugging_face_models import (
    CLASSES,
    END,
    LENGTH,
    LLAMA,
    MODELS,
    WORDS,
    batch,
    make,
    source,
    transformers,
)
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from intformer import artifact, quantize
from intformer.errors import CaptureError, InputError
from intformer.evaluate.sequence_calibration import describe_sequences
from intformer.frontend.sources import load_source
from intformer.generate.model import SequenceModel
from intformer.generate.options import Options
from intformer.generate.sample import generate
from intformer.generate.special import SpecialTokens
from intformer.program import Program
from intformer.quantize.equalize import Equalizer
from intformer.quantize.float_run import FloatRunner
from intformer.quantize.observers import ChannelRange
from intformer.reference import interpret


def original(name: str, inputs: dict[str, np.ndarray]) -> torch.Tensor:
    """Logits of the untouched model of the library."""
    x = {key: torch.from_numpy(value.astype(np.int64)) for key, value in inputs.items()}
    if "target" in x:
        x = dict(zip(("input_ids", "attention_mask", "decoder_input_ids"), x.values(), strict=True))
    with torch.no_grad():
        return make(name)(**x, use_cache=False).logits


@cache
def program(name: str) -> Program:
    return quantize(source(name), [batch(name, 8, 12, seed) for seed in range(1, 5)])


@pytest.mark.parametrize("name", MODELS)
def test_capture_is_exact(name: str) -> None:
    graph = source(name).graph
    check_graph(graph)
    assert list(graph.outputs) == ["logits"] and graph.limits["T"] == LENGTH
    inputs = batch(name)
    tensors = {key: torch.from_numpy(value.astype(np.int64)) for key, value in inputs.items()}
    assert error(run(graph, tensors)["logits"], original(name, inputs)) < 1e-4
    with torch.no_grad():
        assert error(source(name).module(**tensors), original(name, inputs)) < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_programs_are_near_and_alike_everywhere(name: str) -> None:
    inputs, wanted = batch(name), original(name, batch(name)).numpy()
    found = program(name).run(inputs)["logits"]
    noise = found * program(name).scales["logits"]["scale"] - wanted
    assert 10 * np.log10((wanted**2).mean() / (noise**2).mean()) > 24
    assert (interpret(program(name).graph, inputs)["logits"] == found).all()
    model = artifact.to_onnx(program(name).graph, flat=True).SerializeToString()
    (onnx,) = onnxruntime.InferenceSession(model).run(["logits"], inputs)
    assert (onnx == found).all()


def whole_passes(name: str, prompt: list[int], source: list[int], steps: int) -> list[int]:
    """Greedy decoding by the forward program, each token from the beginning."""
    tokens = list(prompt)
    for _ in range(steps):
        feed = {"input_ids": np.array([tokens])}
        if source:
            ids = np.array([source])
            feed = {"source": ids, "source_mask": np.ones_like(ids, np.uint8)}
            feed["target"] = np.array([tokens])
        row = program(name).run(feed)["logits"][0, -1].astype(np.int32)
        row[END] = row.min()
        tokens.append(int(row.argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("name", MODELS)
def test_steps_give_the_tokens_of_whole_passes(name: str) -> None:
    rng = np.random.default_rng(3)
    translates = name.startswith("marian")
    sources = [rng.integers(1, WORDS, n).tolist() for n in (3, 7, 1)] if translates else []
    prompts = [[46]] * 3 if translates else [rng.integers(1, WORDS, n).tolist() for n in (5, 1, 3)]
    model = SequenceModel(program(name).graph, threads=1)
    decoder, logits = model.start(prompts, *([sources] if sources else []))
    options = Options(end=END, max_length=12, min_length=12)
    results = generate(decoder, logits, model.scale, options)
    for prompt, src, result in zip(prompts, sources or [[]] * 3, results, strict=True):
        assert list(result.tokens) == whole_passes(name, prompt, src, 12)


@pytest.mark.parametrize("name", ["llama", "llama, wide heads, stretched"])
def test_equalisation_is_exact_under_rotations_gates_and_shared_keys(name: str) -> None:
    graph = source(name).graph
    equalizer = Equalizer(graph, 1.0)
    assert len(equalizer.attentions) == len(equalizer.gated) == 2
    ranges = {value: ChannelRange() for value in equalizer.observed()}
    inputs = {key: torch.from_numpy(value) for key, value in batch(name).items()}
    with torch.no_grad():
        runner = FloatRunner(graph)
        runner.run(inputs, observe=lambda v, x: ranges[v].update(x) if v in ranges else None)
    wanted = run(graph, inputs)["logits"]
    assert error(run(equalizer.apply(ranges), inputs)["logits"], wanted) < 1e-5


def test_massive_channels_get_a_stream_of_20_bits() -> None:
    wide = [n.op for n in program("llama, massive").graph if n.op.endswith("20")]
    assert len(wide) >= 2
    plain = {"base": "intformer", "promote_below_db": 0.0}
    narrow = quantize(source("llama, massive"), [batch("llama, massive", 8, 12, 1)], plain)
    assert not any(n.op.endswith("20") for n in narrow.graph)
    inputs = batch("llama, massive")
    wanted = original("llama, massive", inputs).numpy()
    noise = [
        np.abs(p.run(inputs)["logits"] * p.scales["logits"]["scale"] - wanted).mean()
        for p in (program("llama, massive"), narrow)
    ]
    assert noise[0] < noise[1] / 2


def test_a_tokenizer_in_the_folder_belongs_to_the_model(tmp_path: Path) -> None:
    make("marian").save_pretrained(tmp_path)
    assert load_source(f"hf:{tmp_path}").preprocess is None
    with pytest.raises(InputError, match=r"without a tokenizer\.json, and without source"):
        describe_sequences(source("marian"))
    words = {f"w{i}": i for i in range(WORDS)}
    Tokenizer(WordLevel(words, unk_token="w1")).save(str(tmp_path / "tokenizer.json"))
    found = load_source(f"hf:{tmp_path}").preprocess
    last = WORDS - 1
    assert found.special == SpecialTokens((last,), END, (END,), (last,))
    assert found.max_length == LENGTH


def test_layers_share_one_table_of_angles() -> None:
    tables = {n.inputs[1:3] for n in program("llama").graph if n.op == "rotary"}
    assert len(tables) == 1


@pytest.mark.parametrize(
    ("kind", "setting", "message"),
    [
        ("Llama", {"sliding_window": 8}, "sliding_window = 8 is not supported; set it to null"),
        (
            "Llama",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "rope_type = 'dynamic' turns by angles that depend on the length",
        ),
        ("GPT2", {"add_cross_attention": True}, "add_cross_attention = true"),
    ],
)
def test_settings_without_integer_form(
    kind: str, setting: dict, message: str, tmp_path: Path
) -> None:
    fields = LLAMA if kind == "Llama" else MODELS["gpt2"][1]
    config = getattr(transformers, f"{kind}Config")(**fields, **setting)
    getattr(transformers, CLASSES[kind])(config).save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored[next(iter(setting))]
    with pytest.raises(CaptureError, match=message):
        load_source(f"hf:{tmp_path}")
