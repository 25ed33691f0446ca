"""``intformer run``."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from intformer.cli import console
from intformer.cli.loading import load_program
from intformer.cli.options import Json, ProgramFile, Threads, TokenizerFile
from intformer.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from intformer.program import Program

    Arrays = dict[str, NDArray[Any]]

TOP = 5
SHOWN = 4096
"""Largest output that --json prints in full."""


def run(
    file: ProgramFile,
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input",
            "-i",
            metavar="IMAGE|NPY|TEXT",
            help="An image, a .npy array or .npz of arrays with raw integers, or a sentence; "
            "repeat it for a batch.",
        ),
    ],
    save: Annotated[
        Path | None, typer.Option("--save", metavar="OUT.npz", help="Keep the integer outputs.")
    ] = None,
    tokenizer: TokenizerFile = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Run a program on images, arrays or sentences, with integers only.

    Classifiers print the best classes with their integer scores; other programs print shape and
    range of each output and a hash of its bytes, which is the same on every machine.

    \b
    Examples:
      intformer run vit.onnx --input cat.jpg --input dog.jpg
      intformer run minilm.onnx --input "A man is riding a horse." --save vectors.npz
      intformer run vit.onnx --input pixels.npy --json
    """
    program = load_program(file, threads)
    feed = _feed(program, inputs, tokenizer)
    outputs = program.run(feed)
    if save is not None:
        _save(save, outputs)
    from intformer.evaluate.outputs import is_classifier

    if is_classifier(program.graph):
        _print_classes(program, inputs, outputs, as_json=as_json)
    else:
        _print_outputs(outputs, as_json=as_json)


def _feed(program: Program, inputs: list[str], tokenizer: Path | None) -> Arrays:
    suffixes = {Path(text).suffix.lower() for text in inputs}
    if suffixes <= {".npy", ".npz"}:
        return _stack([_arrays(program, Path(text)) for text in inputs])
    from intformer.evaluate.tokens import Tokenization, takes_tokens, token_feed

    if takes_tokens(program.graph):
        tokens = Tokenization.of_program(program.graph, tokenizer)
        return token_feed(program.graph, *tokens.encode(inputs))
    from intformer.evaluate.framing import Framing, read_image

    framing = Framing.of_program(program.graph)
    (name,) = program.graph.inputs
    return {name: np.stack([framing.apply(read_image(Path(text))) for text in inputs])}


def _arrays(program: Program, path: Path) -> Arrays:
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = dict(loaded) if path.suffix == ".npz" else {"": loaded}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not a readable NumPy file ({error})") from None
    names = list(program.graph.inputs)
    if "" in arrays and len(names) != 1:
        raise InputError(
            f"{path}: this program takes {', '.join(names)}; give them in one .npz file"
        )
    if "" in arrays:
        arrays = {names[0]: arrays[""]}
    return {name: _batched(program, name, array) for name, array in arrays.items()}


def _batched(program: Program, name: str, array: NDArray[Any]) -> NDArray[Any]:
    """A single sample gets its batch axis."""
    kind = program.graph.inputs.get(name)
    lacks_batch = kind is not None and array.ndim == len(kind.shape) - 1
    return array[None] if lacks_batch else array


def _stack(feeds: list[Arrays]) -> Arrays:
    if len({frozenset(feed) for feed in feeds}) != 1:
        raise InputError("the .npz files hold different arrays")
    try:
        return {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
    except ValueError as error:
        raise InputError(f"the inputs do not fit together: {error}") from None


def _save(path: Path, outputs: Mapping[str, NDArray[Any]]) -> None:
    if path.suffix != ".npz":
        raise InputError(f"{path}: outputs are kept in a .npz file")
    with console.writing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **outputs)


def _print_classes(program: Program, inputs: list[str], outputs: Arrays, *, as_json: bool) -> None:
    from intformer.evaluate.outputs import class_names, logits_name

    names = class_names(program.graph)
    logits = outputs[logits_name(outputs)]
    labels = [_label(inputs, row, len(logits)) for row in range(len(logits))]
    best = [(label, _top(scores, names)) for label, scores in zip(labels, logits, strict=True)]
    if as_json:
        console.print_json({"results": [{"input": name, "top": top} for name, top in best]})
        return
    rows: list[tuple[Any, ...]] = []
    for name, top in best:
        for rank, entry in enumerate(top):
            where = name if rank == 0 else ""
            rows.append((where, entry["class"], entry["label"], entry["logit"]))
    columns = ["input", "class", "#label", "#integer score"]
    console.output().print(console.table("Predictions", columns, rows))


def _top(scores: NDArray[Any], names: list[str]) -> list[dict[str, Any]]:
    order = np.argsort(-scores.astype(np.int64), kind="stable")[:TOP]
    return [
        {"label": int(label), "class": names[label], "logit": int(scores[label])} for label in order
    ]


def _label(inputs: list[str], row: int, rows: int) -> str:
    return inputs[row] if len(inputs) == rows else f"{inputs[0]} [{row}]"


def _print_outputs(outputs: Arrays, *, as_json: bool) -> None:
    described = {name: _describe(array) for name, array in outputs.items()}
    if as_json:
        for name, array in outputs.items():
            if array.size <= SHOWN:
                described[name]["values"] = array.tolist()
        console.print_json({"outputs": described})
        return
    rows = ((name, *entry.values()) for name, entry in described.items())
    columns = ["output", "dtype", "shape", "#lowest", "#highest", "sha256"]
    console.output().print(console.table("Outputs", columns, rows))


def _describe(array: NDArray[Any]) -> dict[str, Any]:
    content = np.ascontiguousarray(array).tobytes()
    return {
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "lowest": int(array.min()),
        "highest": int(array.max()),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
