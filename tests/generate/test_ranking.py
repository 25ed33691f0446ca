"""Ranking rows of logits: native against NumPy against the whole row's scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intformer.generate import ranking
from intformer.generate.fixed_point import LogitScale, log_probabilities
from intformer.generate.ranking import numpy_rows, rank

EDGES = st.sampled_from([-32768, -32767, -1, 0, 1, 32766, 32767])


@given(
    rows=st.lists(
        st.lists(EDGES | st.integers(-32768, 32767), min_size=9, max_size=9), min_size=1, max_size=4
    ),
    closed=st.lists(st.booleans(), min_size=9, max_size=9),
    keep=st.integers(1, 12),
    scale=st.sampled_from([1e-6, 0.0003, 0.02, 0.7]),
)
def test_ranks_by_score_then_token(rows, closed, keep, scale):
    logits, chosen = np.array(rows, np.int16), LogitScale.of(scale)
    tokens, scores = rank(logits, chosen, np.array(closed, np.uint8), keep)
    everything = log_probabilities(logits, chosen)
    for row, found, gained in zip(everything, tokens, scores, strict=True):
        wanted = sorted((-score, i) for i, score in enumerate(row.tolist()) if not closed[i])
        wanted = wanted[:keep]
        assert found.tolist() == [i for _, i in wanted] + [-1] * (keep - len(wanted))
        assert gained[: len(wanted)].tolist() == [-cost for cost, _ in wanted]


def test_native_rows_are_the_numpy_rows(monkeypatch):
    random = np.random.default_rng(5)
    logits = np.round(random.normal(0, 3000, (6, 32_000))).clip(-32768, 32767).astype(np.int16)
    closed = (random.random(32_000) < 0.1).astype(np.uint8)
    scale = LogitScale.of(0.0007)
    fast = rank(logits, scale, closed, 16)
    monkeypatch.setattr(ranking, "native", None)
    slow = rank(logits, scale, closed, 16)
    assert all(np.array_equal(a, b) for a, b in zip(fast, slow, strict=True))
    assert np.array_equal(numpy_rows(logits, scale, closed, 1)[0][:, 0], fast[0][:, 0])


@pytest.mark.skipif(ranking.native is None, reason="no native extension")
def test_shapes_that_do_not_fit_are_refused():
    tables = ranking.tables(LogitScale.of(0.1))
    logits, results = np.ones((2, 5), np.int16), [np.empty((2, 3), np.int64) for _ in range(2)]
    with pytest.raises(ValueError, match="shapes"):
        ranking.native.rank_rows(
            logits, *tables, np.zeros(4, np.uint8), *results, np.empty(2, np.int64)
        )


@pytest.mark.parametrize("words", [1, 63, 64, 65, 130, 1000])
def test_equal_logits_go_by_token_in_every_block(words):
    random = np.random.default_rng(words)
    logits = random.integers(-3, 4, (5, words)).astype(np.int16)
    logits[1] = 7
    closed = (random.random(words) < 0.3).astype(np.uint8)
    scale = LogitScale.of(0.02)
    found = ranking._native_rows(logits, scale, closed, 12)
    for one, other in zip(found, numpy_rows(logits, scale, closed, 12), strict=True):
        np.testing.assert_array_equal(one, other)
