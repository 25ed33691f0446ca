"""Random damage: every outcome is a clear error or a program that is still proved sound."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from onnx import ModelProto

from intformer import artifact
from intformer.errors import IntformerError
from intformer.ir.verify import verify
from intformer.reference import interpret
from programs import bert_like, random_inputs, vit_like

SECONDS = 20
LARGEST_ALLOCATION = 2**26
INTERESTING = (0, 1, 127, 128, 255)


@pytest.fixture(scope="module")
def seeds() -> list[bytes]:
    models = [artifact.to_onnx(vit_like(width=8)), artifact.to_onnx(bert_like(width=6))]
    return [model.SerializeToString(deterministic=True) for model in models]


def flip(content: bytearray, rng: np.random.Generator) -> None:
    """Change single bits."""
    for position in rng.integers(0, len(content), rng.integers(1, 8)):
        content[position] ^= 1 << rng.integers(0, 8)


def overwrite(content: bytearray, rng: np.random.Generator) -> None:
    """Put telling bytes somewhere."""
    start = int(rng.integers(0, len(content)))
    content[start : start + int(rng.integers(1, 9))] = bytes(rng.choice(INTERESTING, 8).tolist())


def truncate(content: bytearray, rng: np.random.Generator) -> None:
    """Cut the end off."""
    del content[int(rng.integers(0, len(content))) :]


def remove(content: bytearray, rng: np.random.Generator) -> None:
    """Cut a piece out."""
    start = int(rng.integers(0, len(content)))
    del content[start : start + int(rng.integers(1, 64))]


def splice(content: bytearray, rng: np.random.Generator) -> None:
    """Copy a piece to another place."""
    start, target = (int(v) for v in rng.integers(0, len(content), 2))
    content[target:target] = content[start : start + int(rng.integers(1, 256))]


BYTE_MUTATIONS = (flip, overwrite, truncate, remove, splice)
NUMBERS = (0, 1, -1, 62, 63, 64, 2**31 - 1, 2**31, -(2**63), 2**62, 2**63 - 1)


def change_a_field(content: bytes, rng: np.random.Generator) -> bytes:
    """A well-formed file with another number, name or list in a message chosen at random."""
    model = ModelProto.FromString(content)
    for _ in range(int(rng.integers(1, 4))):
        messages = list(messages_of(model.graph, rng))
        mutate_message(messages[int(rng.integers(0, len(messages)))], rng)
    return model.SerializeToString()


def messages_of(message: object, rng: np.random.Generator) -> list[object]:
    found = [message]
    for field, value in message.ListFields():  # type: ignore[attr-defined]
        if field.message_type is not None:
            for item in value if field.is_repeated else [value]:
                found += messages_of(item, rng)
    return found


def mutate_message(message: object, rng: np.random.Generator) -> None:
    fields = message.ListFields()  # type: ignore[attr-defined]
    if not fields:
        return
    field, value = fields[int(rng.integers(0, len(fields)))]
    if field.is_repeated:
        index = int(rng.integers(0, len(value)))
        if rng.random() < 0.3:
            del value[index]
        elif field.message_type is not None:
            value.add().CopyFrom(value[index])
        else:
            value.append(value[index])
    elif field.type == field.TYPE_STRING:
        setattr(
            message, field.name, str(rng.choice(["", "pixels", "ids", value[:-1], value + "_1"]))
        )
    elif field.type == field.TYPE_BYTES:
        setattr(message, field.name, bytes(rng.integers(0, 256, len(value), dtype=np.uint8)))
    elif field.message_type is None:
        try:
            setattr(message, field.name, int(rng.choice(np.array(NUMBERS))))
        except ValueError:
            message.ClearField(field.name)  # type: ignore[attr-defined]


def mutated(seeds: list[bytes], rng: np.random.Generator) -> bytes:
    content = seeds[int(rng.integers(0, len(seeds)))]
    if rng.random() < 0.5:
        return change_a_field(content, rng)
    damaged = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        if damaged:
            BYTE_MUTATIONS[int(rng.integers(0, len(BYTE_MUTATIONS)))](damaged, rng)
    return bytes(damaged)


def attempt(content: bytes) -> bool:
    """True if the content is still a program; then it is sound and runs."""
    try:
        graph = artifact.load_bytes(content)
    except IntformerError:
        return False
    verify(graph)
    symbols = {dim for kind in graph.inputs.values() for dim in kind.shape if isinstance(dim, str)}
    interpret(graph, random_inputs(graph, dict.fromkeys(symbols, 2)))
    return True


def test_damage_is_an_error_or_harmless(seeds: list[bytes]) -> None:
    end = time.monotonic() + SECONDS
    survivors = count = 0
    tracemalloc.start()
    try:
        for seed in range(300):
            content = mutated(seeds, np.random.default_rng(seed))
            tracemalloc.reset_peak()
            survivors += attempt(content)
            peak = tracemalloc.get_traced_memory()[1]
            assert peak < LARGEST_ALLOCATION, f"seed {seed}: {peak} bytes"
            count += 1
            if time.monotonic() > end:
                break
    finally:
        tracemalloc.stop()
    assert count >= 50
    assert survivors < count


def test_every_truncation_is_an_error(seeds: list[bytes]) -> None:
    """All cuts within the first bytes, and a sample of the others."""
    content = seeds[0]
    cuts = {*range(64), *np.random.default_rng(0).integers(0, len(content), 100).tolist()}
    for cut in cuts:
        with pytest.raises(IntformerError):
            artifact.load_bytes(content[:cut])
