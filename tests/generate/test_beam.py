"""Beam search against exhaustive search and a search written with lists and fractions."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_decoder import END, VOCABULARY, ToyDecoder, logits_after

from intformer.errors import InputError
from intformer.generate.beam import beam_search
from intformer.generate.fixed_point import LogitScale, log_probabilities
from intformer.generate.options import Options, integer_root, length_weights
from intformer.generate.sample import generate

SCALE = LogitScale.of(0.001)
PROMPTS = [(3,), (4, 5), (6,), (2, 2)]


def search(prompts, options):
    decoder = ToyDecoder(prompts)
    return beam_search(decoder, decoder.start(), SCALE, options)


def token_scores(prompt, tokens):
    return log_probabilities(logits_after(prompt, tokens)[None], SCALE)[0].tolist()


def oracle(prompt, options):
    """The same search with Python numbers and sorted lists."""
    ranks = length_weights(options.length_penalty, options.max_length + 1)
    live, finished = [((), 0)], []
    for length in range(options.max_length + 1):
        candidates = []
        for row, (tokens, score) in enumerate(live):
            after = token_scores(prompt, tokens)
            for token, gain in enumerate(after):
                if token in options.forbidden or (token == END and length < options.min_length):
                    continue
                candidates.append((-(score + gain), row, token))
        if length == options.max_length:
            for row, (tokens, score) in enumerate(live):
                mine = [(s, t) for s, r, t in sorted(candidates) if r == row]
                done = mine[0][1] == END
                total = -mine[0][0] if done else score
                finished.append((tokens, total, total * ranks[length + done] >> 30, done))
            break
        candidates = sorted(candidates)[: 2 * options.beam]
        following = []
        for place, (score, row, token) in enumerate(candidates):
            tokens = live[row][0]
            if token == END:
                if place < options.beam:
                    finished.append((tokens, -score, -score * ranks[length + 1] >> 30, True))
            elif len(following) < options.beam:
                following.append(((*tokens, token), -score))
        live = following
        if len(finished) >= options.beam:
            worst = sorted(f[2] for f in finished)[-options.n_best]
            top = max((score for _, score in live), default=0)
            if options.early_stop or top * ranks[options.max_length + 1] >> 30 <= worst:
                break
        if not live:
            break
    return sorted(finished, key=lambda f: -f[2])[: options.n_best]


def plain(hypotheses):
    return [(h.tokens, h.score, h.ranked, h.ended) for h in hypotheses]


@settings(max_examples=40, deadline=None)
@given(
    beam=st.integers(1, 5),
    longest=st.integers(1, 6),
    shortest=st.integers(0, 3),
    penalty=st.sampled_from(["0", "0.6", "1", "1.5"]),
    early=st.booleans(),
    forbidden=st.sets(st.sampled_from([0, 2, 5]), max_size=2),
    data=st.data(),
)
def test_equals_the_search_with_lists(beam, longest, shortest, penalty, early, forbidden, data):
    options = Options(
        END, beam, data.draw(st.integers(1, beam)), longest, min(shortest, longest),
        Fraction(penalty), early, tuple(forbidden),
    )  # fmt: skip
    for prompt, found in zip(PROMPTS, search(PROMPTS, options), strict=True):
        assert plain(found) == oracle(prompt, options)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_wide_beam_finds_the_best_of_all_sequences(prompt):
    options = Options(
        END, VOCABULARY**3, max_length=2, length_penalty=Fraction(0), early_stop=False
    )
    best_score = -(10**18)
    others = [t for t in range(VOCABULARY) if t != END]
    for length in range(3):
        for tokens in itertools.product(others, repeat=length):
            score = sum(token_scores(prompt, tokens[:i])[t] for i, t in enumerate(tokens))
            after = token_scores(prompt, tokens)
            ends = length < 2 or int(np.argmax(after)) == END
            best_score = max(best_score, score + (after[END] if ends else 0))
    assert search([prompt], options)[0][0].score == best_score


def test_a_sentence_does_not_see_its_batch():
    options = Options(END, 4, 2, 8, length_penalty=Fraction("0.6"), early_stop=False)
    together = search(PROMPTS, options)
    assert search(PROMPTS[::-1], options) == together[::-1]
    for prompt, found in zip(PROMPTS, together, strict=True):
        assert search([prompt], options) == [found]


def test_beam_of_one_is_greedy():
    options = Options(END, max_length=12)
    decoder = ToyDecoder(PROMPTS)
    greedy = generate(decoder, decoder.start(), SCALE, options)
    for one, (many,) in zip(greedy, search(PROMPTS, options), strict=True):
        assert (one.tokens, one.score, one.ended) == (many.tokens, many.score, many.ended)


def test_lengths_and_shortlist_are_kept():
    options = Options(END, 3, 3, max_length=6, min_length=4, shortlist=(2, 3, 6))
    for found in search(PROMPTS, options):
        for hypothesis in found:
            assert 4 <= len(hypothesis.tokens) <= 6
            assert set(hypothesis.tokens) <= {2, 3, 6}
    only_end = replace(options, min_length=0, shortlist=())
    assert [f[0].tokens for f in search(PROMPTS, only_end)] == [()] * len(PROMPTS)


@given(st.integers(0, 10**40), st.integers(1, 9))
def test_integer_root(value, degree):
    root = integer_root(value, degree)
    assert root**degree <= value < (root + 1) ** degree


def test_length_weights_are_the_floor_of_the_power():
    found = length_weights(Fraction("0.6"), 300)
    exact = 2.0**30 / np.arange(1, 301) ** 0.6
    assert found[0] == 1 << 30 and np.abs(np.array(found[1:]) - exact).max() <= 1.01
    assert length_weights(Fraction(0), 5) == [1 << 30] * 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam": 0}, "1 <= n_best <= beam"),
        ({"n_best": 2}, "1 <= n_best <= beam"),
        ({"min_length": 9, "max_length": 8}, "min_length <= max_length"),
        ({"length_penalty": Fraction(-1)}, "length_penalty"),
        ({"length_penalty": Fraction(1, 3)}, "three decimals"),
        ({"forbidden": (END,)}, "end token"),
    ],
)
def test_choices_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Options(END, **settings)


def test_tokens_outside_the_vocabulary_are_refused():
    with pytest.raises(InputError, match="token 99"):
        search(PROMPTS, Options(END, forbidden=(99,)))
