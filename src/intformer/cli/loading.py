"""Programs, float models and inputs from what stands on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intformer.errors import InputError
from intformer.evaluate.origin import METADATA_KEY as ORIGIN_KEY
from intformer.evaluate.origin import Origin

if TYPE_CHECKING:
    from intformer.frontend.sources import Source
    from intformer.program import Program


def origin_of(source: str, output: str | None, mean: str | None, std: str | None) -> Origin:
    """What the command line says of a float model.

    Raises:
        InputError: mean or std are no numbers.
    """
    return Origin(source, output, _channel_values("--mean", mean), _channel_values("--std", std))


def _channel_values(option: str, text: str | None) -> tuple[float, ...] | None:
    """``"0.5,0.5,0.5"`` as numbers.

    Raises:
        InputError: it is anything else.
    """
    if text is None:
        return None
    try:
        return tuple(float(value) for value in text.split(","))
    except ValueError:
        raise InputError(
            f"{option} {text}: give a number per channel, such as 0.5,0.5,0.5"
        ) from None


def load_program(file: Path, threads: int | None = None) -> Program:
    """Read and verify a program; ``threads`` for one run, all cores if None.

    Raises:
        InputError: no such file.
        VerifyError: the file is not a sound program.
    """
    if not file.is_file():
        kind = "is a folder" if file.is_dir() else "is no regular file"
        raise InputError(f"{file}: {kind if file.exists() else 'no such file'}")
    from intformer.program import load

    return load(file, threads=threads)


def load_source(origin: Origin, weights: Path | None = None) -> Source:
    """Read a float model: ``zoo:NAME``, ``timm:NAME``, ``hf:FOLDER`` or a float ``.onnx``.

    Raises:
        InputError, CaptureError: it cannot be found or used.
    """
    name, output = origin.source, origin.output
    if output and not name.endswith(".onnx"):
        raise InputError(f"--output {output}: only a float .onnx file can be cut, not {name}")
    return origin.load(weights)


def load_against(
    name: str | None, program: Program, weights: Path | None, output: str | None
) -> Source | None:
    """The float model that ``--against`` names, cut and normalised as the program says."""
    if name is None:
        return None
    return load_source(Origin.of_program(program.graph).against(name, output), weights)


def with_pair(source: Source, pair: str | None) -> Source:
    """The source with the languages that a translation model does not say itself.

    Raises:
        InputError: it does not translate.
    """
    if pair is None:
        return source
    from intformer.evaluate.sequence_calibration import preprocess_of
    from intformer.evaluate.sequences import sequence_kind

    if sequence_kind(source.graph) != "translation":
        raise InputError(f"--pair {pair}: {source.name} is no translation model")
    return replace(source, preprocess=replace(preprocess_of(source), pair=pair))


def calibration(
    source: Source, data: str, samples: int, batch_size: int = 32
) -> Iterator[dict[str, Any]]:
    """Batches of raw integer inputs for ``quantize``, ``samples`` in all.

    Raises:
        InputError: the data cannot be used for this model.
    """
    from intformer.evaluate.sequences import sequence_kind
    from intformer.evaluate.tokens import Tokenization, sequence_limit, takes_tokens, text_batches

    if sequence_kind(source.graph) is not None:
        from intformer.evaluate.sequence_calibration import sequence_batches

        yield from sequence_batches(source, data, samples)
        return
    if takes_tokens(source.graph):
        from intformer.evaluate.datasets import spread
        from intformer.evaluate.pairs import open_texts

        texts = open_texts(data)
        chosen = [texts[row] for row in spread(len(texts), samples)]
        tokens = Tokenization.of_source(source.preprocess, sequence_limit(source.graph))
        yield from ({**feed} for feed in text_batches(source.graph, tokens, chosen, batch_size))
        return
    from intformer.evaluate.datasets import batches, open_images
    from intformer.evaluate.framing import Framing

    framing = Framing.of_source(source.preprocess)
    (name,) = source.graph.inputs
    for batch in batches(open_images(data), framing, size=batch_size, limit=samples):
        yield {name: batch.pixels}


def describe(program: Program, source: Source, origin: Origin) -> None:
    """Keep in the program what later verbs need: framing, classes, tokenizer, origin."""
    from intformer.evaluate.framing import METADATA_KEY as FRAMING_KEY
    from intformer.evaluate.framing import Framing
    from intformer.evaluate.outputs import CLASSES_KEY
    from intformer.evaluate.sequence_calibration import describe_sequences
    from intformer.evaluate.sequences import sequence_kind
    from intformer.evaluate.tokens import METADATA_KEY as TOKENIZER_KEY
    from intformer.evaluate.tokens import Tokenization, takes_tokens

    metadata = program.graph.metadata
    metadata[ORIGIN_KEY] = origin.to_metadata()
    if sequence_kind(source.graph) is not None:
        metadata.update(describe_sequences(source))
        return
    if takes_tokens(source.graph):
        tokens = Tokenization.of_source(source.preprocess)
        metadata[TOKENIZER_KEY] = tokens.to_metadata()
        return
    metadata[FRAMING_KEY] = Framing.of_source(source.preprocess).to_metadata()
    if names := source_classes(source):
        metadata[CLASSES_KEY] = json.dumps(names)


def source_classes(source: Source) -> list[str]:
    """Class names of a float model, if its configuration has them."""
    config = getattr(source.module, "config", None)
    labels = getattr(config, "id2label", None)
    if isinstance(labels, dict):
        return [str(labels[key]) for key in sorted(labels)]
    return [str(name) for name in getattr(config, "classes", None) or ()]
