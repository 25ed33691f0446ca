"""Times a language model: intformer, llama.cpp, CTranslate2 and Hugging Face in one run.

    python benchmarks/language_model_speed.py [--threads 1,2] [--rounds 5] [--only NAME ...]
                                        [--json FILE] [--write]

The shape is GPT-2 small (12 layers, 768 wide, a vocabulary of 50,257) with random weights, batch 1;
every engine generates 128 tokens one by one after one token, always the most likely. llama.cpp is
the package ``llama-cpp-python``, to be built for this processor (``GGML_NATIVE``). ``--write`` puts
the tables into docs/benchmarks.md.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from turns import Case, Contest, Engine, Run, main, our_engine

WORDS, WIDTH, LAYERS, HEADS, LONGEST = 50257, 768, 12, 12, 1024
TOKENS, END, START = 128, 2, 1
CASES = [{"batch": 1, "tokens": TOKENS}]


def prepare_program(recipe: str, folder: Path) -> None:
    """An integer program of this shape."""
    import torch

    from intformer import quantize
    from intformer.evaluate.bench.prepare import AT_ONCE
    from intformer.frontend.capture import capture
    from intformer.models.transformer import TransformerConfig, build_transformer

    torch.manual_seed(0)
    config = TransformerConfig(
        vocab_size=WORDS,
        dim=WIDTH,
        heads=HEADS,
        ffn=4 * WIDTH,
        encoder_layers=0,
        decoder_layers=LAYERS,
        max_length=LONGEST,
    )
    ids = torch.zeros(2, 5, dtype=torch.long)
    model = build_transformer(config).eval()
    graph = capture(model, {"ids": ids}, dynamic={"ids": {0: "N", 1: "T"}}, outputs=["logits"])
    samples = [{"ids": np.random.default_rng(0).integers(3, WORDS, (2, 16))}]
    base = "intformer" if recipe == "w8a8" else recipe
    quantize(graph, samples, {"base": base, **AT_ONCE}).save(folder / f"{recipe}.onnx")


def load_program(recipe: str, folder: Path, threads: int) -> Run:
    from intformer.artifact import load
    from intformer.generate.model import SequenceModel
    from intformer.generate.options import Options
    from intformer.generate.sample import generate

    model = SequenceModel(load(folder / f"{recipe}.onnx"), threads)
    options = Options(END, max_length=TOKENS, min_length=TOKENS)

    def run(_: Case) -> int:
        decoder, logits = model.start([[START]])
        return len(generate(decoder, logits, model.scale, options)[0].tokens)

    return run


def gpt2() -> Any:
    """A Hugging Face model of this shape."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config()).eval().requires_grad_(False)


def prepare_gpt2(folder: Path) -> None:
    gpt2().save_pretrained(folder / "gpt2")


def load_gpt2(folder: Path, threads: int) -> Run:
    import torch
    from transformers import GPT2LMHeadModel

    torch.set_num_threads(threads)
    model = GPT2LMHeadModel.from_pretrained(folder / "gpt2").eval().requires_grad_(False)

    def run(_: Case) -> int:
        ids = torch.tensor([[START]])
        counts = {"min_new_tokens": TOKENS, "max_new_tokens": TOKENS}
        made = model.generate(ids, do_sample=False, pad_token_id=0, **counts)
        return made.shape[1] - 1

    return run


def prepare_ctranslate2(folder: Path) -> None:
    import torch
    from ctranslate2.converters.transformers import GPT2Loader

    with torch.no_grad():
        spec = GPT2Loader().get_model_spec(gpt2())
    spec.register_vocabulary(["</s>", *(f"t{i}" for i in range(1, WORDS))])
    spec.config.bos_token = spec.config.eos_token = "</s>"
    spec.config.unk_token = "t1"
    spec.validate()
    spec.optimize(quantization="int8")
    (folder / "ct2-int8").mkdir(exist_ok=True)
    spec.save(str(folder / "ct2-int8"))


def load_ctranslate2(folder: Path, threads: int) -> Run:
    import ctranslate2

    path = str(folder / "ct2-int8")
    model = ctranslate2.Generator(path, compute_type="int8", intra_threads=threads)

    def run(_: Case) -> int:
        found = model.generate_batch(
            [["t1"]], min_length=TOKENS, max_length=TOKENS, include_prompt_in_result=False
        )
        return len(found[0].sequences_ids[0])

    return run


def tensors() -> dict[str, np.ndarray]:
    """The weights of ``gpt2`` under llama.cpp's names."""
    names = {
        "attn.c_attn": "attn_qkv",
        "attn.c_proj": "attn_output",
        "mlp.c_fc": "ffn_up",
        "mlp.c_proj": "ffn_down",
        "ln_1": "attn_norm",
        "ln_2": "ffn_norm",
    }
    state = {k: v.numpy() for k, v in gpt2().transformer.state_dict().items()}
    found = {"token_embd.weight": state["wte.weight"], "position_embd.weight": state["wpe.weight"]}
    for kind in ("weight", "bias"):
        found[f"output_norm.{kind}"] = state[f"ln_f.{kind}"]
        for i in range(LAYERS):
            for theirs, name in names.items():
                value = state[f"h.{i}.{theirs}.{kind}"]
                found[f"blk.{i}.{name}.{kind}"] = value.T if value.ndim == 2 else value
    return found


def prepare_llama(kind: str, folder: Path) -> None:
    """A GGUF file without a tokenizer."""
    import gguf

    form = gguf.GGMLQuantizationType[kind]
    writer = gguf.GGUFWriter(str(folder / f"{kind}.gguf"), "gpt2")
    writer.add_context_length(LONGEST)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(4 * WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-5)
    writer.add_vocab_size(WORDS)
    writer.add_tokenizer_model("none")
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{kind}"])
    for name, value in tensors().items():
        large = value.ndim == 2 and name != "position_embd.weight"
        data = np.ascontiguousarray(value, np.float32)
        if large:
            writer.add_tensor(name, gguf.quants.quantize(data, form), raw_dtype=form)
        else:
            writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def load_llama(kind: str, folder: Path, threads: int) -> Run:
    import llama_cpp as llama

    llama.llama_backend_init()
    settings = llama.llama_model_default_params()
    model = llama.llama_model_load_from_file(str(folder / f"{kind}.gguf").encode(), settings)
    options = llama.llama_context_default_params()
    options.n_ctx, options.n_batch = 256, 32
    options.n_threads = options.n_threads_batch = threads
    context = llama.llama_init_from_model(model, options)
    if not context:
        raise RuntimeError("llama.cpp cannot load the model")

    def run(_: Case) -> int:
        llama.llama_memory_clear(llama.llama_get_memory(context), True)
        token, made = START, 0
        for _ in range(TOKENS):
            batch = llama.llama_batch_get_one((llama.llama_token * 1)(token), 1)
            if llama.llama_decode(context, batch):
                break
            logits = np.ctypeslib.as_array(llama.llama_get_logits(context), (WORDS,))
            token, made = int(logits.argmax()), made + 1
        return made

    return run


def llama(kind: str) -> Engine:
    return Engine(
        f"llama.cpp {kind}",
        partial(prepare_llama, kind),
        partial(load_llama, kind),
        f"{kind}.gguf",
        "llama-cpp-python",
    )


ENGINES = {
    "w8a8": our_engine("w8a8", prepare_program, load_program),
    "w4a8": our_engine("w4a8", prepare_program, load_program),
    "q8": llama("Q8_0"),
    "q4": llama("Q4_0"),
    "ct2": Engine(
        "CTranslate2 int8",
        prepare_ctranslate2,
        load_ctranslate2,
        "ct2-int8/model.bin",
        "ctranslate2",
    ),
    "hf": Engine("Hugging Face float32", prepare_gpt2, load_gpt2, "gpt2", "transformers"),
}


def name_of(_: Case) -> str:
    return f"{TOKENS} tokens"


if __name__ == "__main__":
    main(Contest(__file__, __doc__, ENGINES, ("w8a8", "w4a8"), CASES, name_of))
