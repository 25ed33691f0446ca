"""Token by token: greedy, sampling, streaming."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from toy_decoder import END, ToyDecoder

from intformer.errors import InputError
from intformer.generate.fixed_point import LogitScale
from intformer.generate.options import Options
from intformer.generate.sample import Generator, Sampling, draw, generate

SCALE = LogitScale.of(0.001)
PROMPTS = [(3,), (4, 5), (6,), (2, 2)]


def sampled(prompts, sampling, seed=1, **settings):
    decoder = ToyDecoder(prompts)
    generators = [Generator(seed, prompt) for prompt in prompts]
    return generate(
        decoder, decoder.start(), SCALE, Options(END, max_length=9),
        sampling=sampling, generators=generators, **settings,
    )  # fmt: skip


def test_generator_gives_the_published_numbers():
    generator = Generator(1234567)
    first = [generator.next() for _ in range(3)]
    assert first == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_generators_of_different_sentences_differ():
    starts = {Generator(5, words).next() for words in [(), (1,), (1, 2), (2, 1), (2,)]}
    assert len(starts) == 5


def test_a_draw_follows_the_integer_weights():
    logits = np.array([0, -1000, -2000, 500], np.int64)
    generator = Generator(3)
    count = Counter(draw(logits, Sampling(SCALE), generator) for _ in range(20_000))
    exact = np.exp(logits / 1000) / np.exp(logits / 1000).sum()
    for token, share in enumerate(exact):
        assert abs(count[token] / 20_000 - share) < 4 * np.sqrt(share / 20_000)


def test_top_k_and_top_p_cut_the_tail():
    logits = np.array([0, -1000, -2000, 500], np.int64)  # shares .32 .12 .04 .52
    generator = Generator(3)

    def drawn(**settings):
        return {draw(logits, Sampling(SCALE, **settings), generator) for _ in range(400)}

    assert drawn(top_k=1) == {3}
    assert drawn(top_k=2) == {0, 3}
    assert drawn(top_p=Fraction("0.5")) == {3}
    assert drawn(top_p=Fraction("0.6")) == {0, 3}
    assert drawn(top_p=Fraction("0.9")) == {0, 1, 3}
    assert drawn() == {0, 1, 2, 3}


def test_samples_depend_on_seed_and_sentence_alone():
    sampling = Sampling(LogitScale.of(0.001, Fraction("2.5")))
    together = sampled(PROMPTS, sampling)
    assert sampled(PROMPTS[::-1], sampling) == together[::-1]
    assert [sampled([p], sampling)[0] for p in PROMPTS] == together
    assert sampled(PROMPTS, sampling, seed=2) != together


def test_tokens_are_told_as_they_come():
    heard = [[] for _ in PROMPTS]
    decoder = ToyDecoder(PROMPTS)
    made = generate(
        decoder, decoder.start(), SCALE, Options(END, max_length=9),
        on_token=lambda i, token: heard[i].append(token),
    )  # fmt: skip
    assert [tuple(h) for h in heard] == [h.tokens for h in made]


@pytest.mark.parametrize(
    "settings", [{"top_k": -1}, {"top_p": Fraction(0)}, {"top_p": Fraction(2)}]
)
def test_choices_that_make_no_sense_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        Sampling(SCALE, **settings)
