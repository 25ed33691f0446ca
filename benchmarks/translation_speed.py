"""Times translation: intformer, CTranslate2 and Hugging Face in one interleaved run.

    python benchmarks/translation_speed.py [--threads 1,2] [--rounds 5] [--only NAME ...]
                                           [--json FILE] [--write]

The shape is Transformer-base (6 + 6 layers, 512 wide, a vocabulary of 32,000) with random weights;
sentences have 32 random tokens, and every engine is made to produce 32. ``--write`` puts the tables
into docs/benchmarks.md.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from turns import Case, Contest, Engine, Run, main, our_engine

WORDS, TOKENS, END, START = 32000, 32, 2, 1
CASES = [{"batch": n, "beam": beam, "tokens": TOKENS} for beam in (1, 4) for n in (1, 32)]


def sources(batch: int) -> list[list[int]]:
    return np.random.default_rng(0).integers(3, WORDS - 1, (batch, TOKENS)).tolist()


def prepare_program(recipe: str, folder: Path) -> None:
    """An integer program of this shape."""
    import torch

    from intformer import quantize
    from intformer.evaluate.bench.prepare import AT_ONCE
    from intformer.frontend.sequence_source import capture_sequences
    from intformer.models.transformer import build_transformer, preset

    torch.manual_seed(0)
    graph = capture_sequences(build_transformer(preset("base")).eval())
    rng = np.random.default_rng(0)
    samples = [
        {
            "source": rng.integers(3, WORDS, (2, 16)),
            "source_mask": np.ones((2, 16), np.uint8),
            "target": rng.integers(3, WORDS, (2, 16)),
        }
    ]
    base = "intformer" if recipe == "w8a8" else recipe
    quantize(graph, samples, {"base": base, **AT_ONCE}).save(folder / f"{recipe}.onnx")


def load_program(recipe: str, folder: Path, threads: int) -> Run:
    from intformer.artifact import load
    from intformer.generate.beam import beam_search
    from intformer.generate.model import SequenceModel
    from intformer.generate.options import Options
    from intformer.generate.sample import generate

    model = SequenceModel(load(folder / f"{recipe}.onnx"), threads)

    def run(case: Case) -> int:
        options = Options(END, beam=case["beam"], max_length=TOKENS, min_length=TOKENS)
        decoder, logits = model.start([[START]] * case["batch"], sources(case["batch"]))
        if case["beam"] > 1:
            found = [best[0] for best in beam_search(decoder, logits, model.scale, options)]
        else:
            found = generate(decoder, logits, model.scale, options)
        return sum(len(hypothesis.tokens) for hypothesis in found)

    return run


def marian() -> Any:
    """A Hugging Face model of this shape."""
    import torch
    from transformers import MarianConfig, MarianMTModel

    torch.manual_seed(0)
    sizes = {f"{side}_layers": 6 for side in ("encoder", "decoder")}
    sizes |= {f"{side}_attention_heads": 8 for side in ("encoder", "decoder")}
    sizes |= {f"{side}_ffn_dim": 2048 for side in ("encoder", "decoder")}
    special = {"pad_token_id": WORDS - 1, "decoder_start_token_id": WORDS - 1, "eos_token_id": 0}
    config = MarianConfig(
        vocab_size=WORDS,
        d_model=512,
        max_position_embeddings=256,
        activation_function="relu",
        scale_embedding=True,
        forced_eos_token_id=None,
        **sizes,
        **special,
    )
    return MarianMTModel(config).eval().requires_grad_(False)


def prepare_marian(folder: Path) -> None:
    marian().save_pretrained(folder / "marian")


def load_marian(folder: Path, threads: int) -> Run:
    import torch
    from transformers import MarianMTModel

    torch.set_num_threads(threads)
    model = MarianMTModel.from_pretrained(folder / "marian").eval().requires_grad_(False)

    def run(case: Case) -> int:
        made = model.generate(
            torch.tensor(sources(case["batch"])),
            num_beams=case["beam"],
            do_sample=False,
            min_new_tokens=TOKENS,
            max_new_tokens=TOKENS,
        )
        return made.shape[0] * (made.shape[1] - 1)

    return run


def prepare_ctranslate2(kind: str, folder: Path) -> None:
    import torch
    from ctranslate2.converters.transformers import MarianMTLoader

    with torch.no_grad():
        spec = MarianMTLoader().get_model_spec(marian())
    words = ["</s>", *(f"t{i}" for i in range(1, WORDS - 1))]
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    for name in ("bos_token", "eos_token", "decoder_start_token"):
        setattr(spec.config, name, "</s>")
    spec.config.unk_token = "t1"
    spec.validate()
    spec.optimize(quantization=None if kind == "float32" else kind)
    (folder / f"ct2-{kind}").mkdir(exist_ok=True)
    spec.save(str(folder / f"ct2-{kind}"))


def load_ctranslate2(kind: str, folder: Path, threads: int) -> Run:
    import ctranslate2

    model = ctranslate2.Translator(
        str(folder / f"ct2-{kind}"), compute_type=kind, inter_threads=1, intra_threads=threads
    )

    def run(case: Case) -> int:
        words = [[*(f"t{i}" for i in row[1:]), "</s>"] for row in sources(case["batch"])]
        found = model.translate_batch(
            words,
            beam_size=case["beam"],
            max_batch_size=case["batch"],
            min_decoding_length=TOKENS,
            max_decoding_length=TOKENS,
        )
        return sum(len(result.hypotheses[0]) for result in found)

    return run


def ctranslate2(kind: str) -> Engine:
    return Engine(
        f"CTranslate2 {kind}",
        partial(prepare_ctranslate2, kind),
        partial(load_ctranslate2, kind),
        f"ct2-{kind}/model.bin",
        "ctranslate2",
    )


ENGINES = {
    "w8a8": our_engine("w8a8", prepare_program, load_program),
    "w4a8": our_engine("w4a8", prepare_program, load_program),
    "ct2-int8": ctranslate2("int8"),
    "ct2-float32": ctranslate2("float32"),
    "hf": Engine("Hugging Face float32", prepare_marian, load_marian, "marian", "transformers"),
}


def name_of(case: Case) -> str:
    search = "greedy" if case["beam"] == 1 else f"beam {case['beam']}"
    return f"{search}, batch {case['batch']}"


if __name__ == "__main__":
    main(Contest(__file__, __doc__, ENGINES, ("w8a8", "w4a8"), CASES, name_of))
