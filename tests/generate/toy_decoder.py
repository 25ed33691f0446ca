"""A decoder whose logits are a fixed function of each row's tokens."""

import numpy as np

VOCABULARY = 7
END = 1


def logits_after(prompt, tokens, vocabulary=VOCABULARY, spread=3000):
    """int16 [V], the same for the same tokens."""
    seed = [*prompt, 1000, *tokens]
    return np.random.default_rng(seed).integers(-spread, spread, vocabulary).astype(np.int16)


class ToyDecoder:
    """Rows of tokens; keeps count of its steps."""

    def __init__(self, prompts, **settings):
        self.prompts, self.settings = list(prompts), settings
        self.rows = [() for _ in prompts]
        self.steps = 0

    def start(self):
        return self._logits()

    def step(self, tokens):
        assert tokens.dtype == np.int64 and len(tokens) == len(self.rows)
        self.rows = [(*row, int(t)) for row, t in zip(self.rows, tokens, strict=True)]
        self.steps += 1
        return self._logits()

    def select(self, rows):
        self.rows = [self.rows[i] for i in rows]
        self.prompts = [self.prompts[i] for i in rows]

    def _logits(self):
        pairs = zip(self.prompts, self.rows, strict=True)
        return np.stack([logits_after(p, r, **self.settings) for p, r in pairs])
