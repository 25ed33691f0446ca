"""BLEU and chrF of a translation program, beside its float model's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from intformer.errors import InputError
from intformer.evaluate.parallel import ParallelText
from intformer.generate.decoder import DecodingModel
from intformer.generate.lines import Line, Translator
from intformer.generate.options import Options
from intformer.generate.special import SpecialTokens
from intformer.generate.vocabulary import Vocabulary

Progress = Callable[[int, int], None]

RESAMPLES = 1000
"""Test sets that the paired bootstrap draws (Koehn 2004)."""


@dataclass(frozen=True)
class TranslationScore:
    """Scores of a program and, where there is one, of its float model.

    ``same_sentences`` is the share of lines whose translation is the float model's very text, in
    percent. ``p_value`` is that of the paired bootstrap on BLEU: how likely so large a difference
    is between equal systems.
    """

    sentences: int
    beam: int
    bleu: float
    chrf: float
    float_bleu: float | None
    float_chrf: float | None
    same_sentences: float | None
    p_value: float | None
    signature: str
    chrf_signature: str

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


def translation_score(
    model: DecodingModel,
    vocabulary: Vocabulary,
    text: ParallelText,
    options: Options,
    *,
    floats: DecodingModel | None = None,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> TranslationScore:
    """Translate ``text`` and compare with what people wrote.

    Args:
        model: the program.
        vocabulary: its tokens.
        text: sentences and reference translations.
        options: of the search; the same for both models.
        floats: the float model.
        batch_size: sentences at a time.
        progress: called with (lines done, lines in all), over both models.

    Raises:
        InputError: sacreBLEU is not installed.
    """
    models = [model, *([floats] if floats else [])]
    outputs = []
    for index, each in enumerate(models):
        translator = Translator(each, vocabulary, options, batch_size)
        done = _advance(progress, index * len(text), len(models) * len(text))
        outputs.append(translations(translator, vocabulary, text.source, done))
    return compare_translations(outputs[0], outputs[1] if floats else None, text.target, options)


def translations(
    translator: Translator,
    vocabulary: Vocabulary,
    sentences: Sequence[str],
    advance: Callable[[int], None] | None = None,
) -> list[str]:
    """The best translation of each sentence, on one line each."""
    lines = (Line(number, sentence) for number, sentence in enumerate(sentences, 1))
    done = translator.translate(lines, advance=advance)
    return [vocabulary.decode(d.hypotheses[0].tokens) if d.hypotheses else "" for d in done]


def _advance(progress: Progress | None, before: int, total: int) -> Callable[[int], None] | None:
    return None if progress is None else lambda done: progress(before + done, total)


def compare_translations(
    made: list[str], floats: list[str] | None, references: list[str], options: Options
) -> TranslationScore:
    """Scores of translations already made; see ``translation_score``."""
    metrics = _metrics()
    own = {name: metric.corpus_score(made, [references]) for name, metric in metrics.items()}
    theirs = {
        name: None if floats is None else metric.corpus_score(floats, [references]).score
        for name, metric in metrics.items()
    }
    same = None if floats is None else sum(map(str.__eq__, made, floats))
    return TranslationScore(
        sentences=len(made),
        beam=options.beam,
        bleu=round(own["BLEU"].score, 4),
        chrf=round(own["chrF2"].score, 4),
        float_bleu=_rounded(theirs["BLEU"]),
        float_chrf=_rounded(theirs["chrF2"]),
        same_sentences=None if same is None else round(100.0 * same / len(made), 4),
        p_value=None if floats is None else _p_value(floats, made, references),
        signature=str(metrics["BLEU"].get_signature()),
        chrf_signature=str(metrics["chrF2"].get_signature()),
    )


def _metrics() -> dict[str, Any]:
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError:
        raise InputError("translations are scored with sacreBLEU: pip install sacrebleu") from None
    return {"BLEU": BLEU(), "chrF2": CHRF()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _p_value(baseline: list[str], system: list[str], references: list[str]) -> float:
    """Paired bootstrap resampling with sacreBLEU's fixed seed."""
    from sacrebleu.significance import PairedTest

    if baseline == system:
        return 1.0
    named = [("float", baseline), ("integer", system)]
    test = PairedTest(
        named, {"BLEU": _metrics()["BLEU"]}, [references], test_type="bs", n_samples=RESAMPLES
    )
    _, results = test()
    return float(results["BLEU"][1].p_value)


def plain_options(special: SpecialTokens, beam: int) -> Options:
    """Options of a greedy or beam search with nothing special about it."""
    return Options(special.end, beam=beam, forbidden=special.forbidden)
