"""The tokenizer files of a Marian folder (OPUS-MT): source.spm, target.spm, vocab.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intformer.errors import InputError
from intformer.generate.sentence_pieces import Pieces

SPECIAL = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
"""Tokens with a meaning of their own: keys of the configuration, and what they usually are."""

TRIMMING = ("lstrip", "rstrip", "single_word")


def has_pieces(folder: Path) -> bool:
    """Whether a folder's tokenizer is made of SentencePiece files."""
    return (folder / "source.spm").is_file()


def read_pieces(folder: Path) -> Pieces:
    """What the folder says.

    Raises:
        InputError: a file is missing or makes no sense; the text names it.
    """
    config = {
        **_json(folder / "special_tokens_map.json"),
        **_json(folder / "tokenizer_config.json"),
    }
    if config.get("sp_model_kwargs"):
        raise InputError(f"{folder}/tokenizer_config.json: sp_model_kwargs are not supported")
    words = _vocabulary(folder / "vocab.json")
    names = {key: _content(config.get(key, usual)) for key, usual in SPECIAL.items()}
    for name in (names["eos_token"], names["unk_token"]):
        if name not in words:
            raise InputError(f"{folder}/vocab.json: does not hold {name}")
    special = dict.fromkeys([*names.values(), *_further(config)])
    marks = {word: words[word] for word in special if word in words} | _added(folder, config)
    own = _vocabulary(folder / "target_vocab.json") if config.get("separate_vocabs") else {}
    return Pieces(
        source=_bytes(folder / "source.spm"),
        target=_bytes(folder / "target.spm"),
        words=tuple(words),
        target_words=tuple(own),
        marks=marks,
        hidden=tuple(sorted(marks[word] for word in special if word in marks)),
        unknown=words[names["unk_token"]],
        tidy=bool(config.get("clean_up_tokenization_spaces")),
    )


def check_sizes(folder: Path, source: int, target: int) -> None:
    """Compare the vocabularies with the tokens that the model takes and makes.

    Raises:
        InputError: a text could have tokens that the model does not know.
    """
    own = (folder / "target_vocab.json").is_file()
    limits = {"vocab.json": source if own else min(source, target), "target_vocab.json": target}
    for name, limit in limits.items():
        count = len(_json(folder / name))
        if count > limit:
            raise InputError(f"{folder / name}: holds {count} tokens, the model has {limit}")


def languages(folder: Path) -> str:
    """Languages as ``"en-de"``, empty if the folder does not say."""
    config = _json(folder / "tokenizer_config.json")
    both = [config.get("source_lang"), config.get("target_lang")]
    return "-".join(map(str, both)) if all(both) else ""


def _further(config: Mapping[str, Any]) -> list[str]:
    """Special tokens without a key of their own; the library has called them both."""
    lists = (config.get("extra_special_tokens"), config.get("additional_special_tokens"))
    return [_content(token) for given in lists if isinstance(given, list) for token in given]


def _added(folder: Path, config: Mapping[str, Any]) -> dict[str, int]:
    """Texts that are one token each: added to the vocabulary, or only marked in it."""
    try:
        every = [(int(k), v) for k, v in (config.get("added_tokens_decoder") or {}).items()]
        found = {str(v["content"]): token for token, v in every}
        trimming = [v["content"] for _, v in every if any(map(v.get, TRIMMING))]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(
            f"{folder}/tokenizer_config.json: added_tokens_decoder: no tokens"
        ) from None
    if trimming:
        raise InputError(
            f"{folder}/tokenizer_config.json: {trimming[0]!r}: lstrip, rstrip and single_word are "
            "not supported"
        )
    return found


def _content(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) and "content" in token else token)


def _vocabulary(path: Path) -> dict[str, int]:
    """Piece -> token, in the order of tokens."""
    found = _json(path)
    if not found:
        raise InputError(f"{path}: no such file, or no vocabulary in it")
    if sorted(v for v in found.values() if type(v) is int) != list(range(len(found))):
        raise InputError(f"{path}: its tokens must be numbered from 0 to {len(found) - 1}")
    return dict(sorted(found.items(), key=lambda item: int(item[1])))


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(_bytes(path))
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: not a JSON object")
    return found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
