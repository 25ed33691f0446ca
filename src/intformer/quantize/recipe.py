"""Recipes: everything a user may choose about quantization, as data (TOML or JSON)."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from intformer.errors import RecipeError

Softmax = Literal["exp2", "shiftmax", "shiftmax-published", "i-exp", "i-exp-published", "log2"]
Gelu = Literal["exact", "shiftgelu", "shiftgelu-published", "i-gelu"]
Norm = Literal["exact", "newton", "newton-published", "power-of-two"]

LIMITS = {
    "fallback_below_db": (0.0, 100.0),
    "auto_seconds": (0.0, 86400.0),
    "percentile": (50.0, 100.0),
    "smoothing": (0.0, 1.0),
    "residual_margin": (1.0, 100.0),
    "promote_below_db": (0.0, 100.0),
}
"""Smallest and largest value of the settings that are real numbers."""


@dataclass(frozen=True)
class Override:
    """Settings for the layers whose name matches a regular expression.

    ``activation_bits = 16`` keeps the input of a linear layer at 16 bits (the way to "exclude" a
    layer; nothing is ever left in floating point).
    """

    activation_bits: Literal[4, 6, 8, 16] | None = None
    weight_bits: Literal[4, 6, 8] | None = None
    weight_groups: Literal[0, 2, 4, 8, "auto"] | None = None
    scale_group: Literal[0, 32, 64, 128] | None = None
    observer: Literal["mse", "minmax", "percentile"] | None = None
    softmax: Softmax | None = None
    gelu: Gelu | None = None
    norm: Norm | None = None


@dataclass(frozen=True)
class Recipe:
    """How a float graph becomes integers.

    Attributes:
        name: for humans.
        activation_bits: width of linear, attention and table inputs.
        weight_bits: width of weights, with a scale per output channel. Weights of 4 bits are stored
            in half a byte and have an integer multiplier per group of inputs besides.
        scale_group: inputs in such a group; 0: all of them.
        weight_groups: 2, 4 or 8: weights for which sums of that many products fit 16 bits, which
            makes linear layers faster on x86 without VNNI; 0: any weights; ``"auto"``: for each
            layer the most that costs next to nothing. Weights of 4 bits have that property in any
            case.
        residual_bits: 16, or 8 to see what that costs.
        observer: range estimation of 8-bit activations.
        percentile: share of values inside the range, for ``observer = "percentile"``.
        rounding: ``"gptq"`` (error-compensating) or ``"nearest"``.
        bias_correction: keep each layer's mean output, also behind an approximated GELU.
        scale_bits: every scale is a dyadic number b / 2^c with b of this many bits, and so is every
            product of scales; 0: any real number. Not the scales of weights of 4 bits.
        equalize: exact rescalings of the float graph before integers are chosen (normalisation
            outputs, keys, values).
        smoothing: share of a channel's range that moves from activations into weights, 0 to 1.
        residual_margin: head room of the wide stream over the calibrated maximum.
        promote_below_db: results of activation functions whose signal-to-noise ratio in 8 bits is
            below this keep 16 bits; 6 dB less for each bit less; 0 never does.
        softmax, gelu, norm: the operator that computes them (docs/operators.md); ``"auto"`` tries
            each in each layer and keeps the one with the best program outputs.
        fallback_below_db: a published operator whose own signal-to-noise ratio on calibration data
            is below this is replaced by ours in that layer, and the program says so; 0 never does.
        auto_seconds: time that ``"auto"`` may take; layers it does not reach keep our operators.
        overrides: regular expression on layer names -> settings; the last match wins.
    """

    name: str = "intformer"
    activation_bits: Literal[4, 6, 8] = 8
    weight_bits: Literal[4, 6, 8] = 8
    weight_groups: Literal[0, 2, 4, 8, "auto"] = "auto"
    scale_group: Literal[0, 32, 64, 128] = 32
    residual_bits: Literal[8, 16] = 16
    observer: Literal["mse", "minmax", "percentile"] = "mse"
    percentile: float = 99.99
    rounding: Literal["gptq", "nearest"] = "gptq"
    bias_correction: bool = True
    scale_bits: Literal[0, 8, 16] = 0
    equalize: bool = True
    smoothing: float = 1.0
    residual_margin: float = 1.25
    promote_below_db: float = 28.0
    softmax: Softmax | Literal["auto"] = "exp2"
    gelu: Gelu | Literal["auto"] = "exact"
    norm: Norm | Literal["auto"] = "exact"
    fallback_below_db: float = 15.0
    auto_seconds: float = 300.0
    overrides: dict[str, Override] = field(default_factory=dict)

    def for_layer(self, name: str, setting: str) -> Any:
        """``setting`` for the layer ``name``: the last matching override, else the recipe's own."""
        value = getattr(self, setting)
        for pattern, override in self.overrides.items():
            chosen = getattr(override, setting, None)
            if chosen is not None and re.search(pattern, name):
                value = chosen
        return value

    def to_json(self) -> str:
        """The recipe as ``load_recipe`` takes it; what an override leaves alone is absent."""
        return json.dumps(dataclasses.asdict(self, dict_factory=_stated), sort_keys=True)


def _stated(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in items if value is not None}


RECIPES = {
    "intformer": Recipe(),
    "naive": Recipe(
        name="naive",
        weight_groups=0,
        residual_bits=8,
        observer="minmax",
        rounding="nearest",
        bias_correction=False,
        equalize=False,
        residual_margin=1.0,
        promote_below_db=0.0,
    ),
    "w6a6": Recipe(name="w6a6", activation_bits=6, weight_bits=6),
    "w4a8": Recipe(name="w4a8", weight_bits=4),
    "w4a4": Recipe(name="w4a4", activation_bits=4, weight_bits=4),
    "i-vit": Recipe(name="i-vit", softmax="shiftmax", gelu="shiftgelu", norm="newton"),
    "i-vit-published": Recipe(
        name="i-vit-published",
        softmax="shiftmax-published",
        gelu="shiftgelu-published",
        norm="newton-published",
        promote_below_db=0.0,
        fallback_below_db=0.0,
    ),
    "i-bert": Recipe(name="i-bert", softmax="i-exp", gelu="i-gelu", norm="newton"),
    "i-bert-published": Recipe(
        name="i-bert-published",
        softmax="i-exp-published",
        gelu="i-gelu",
        norm="newton",
        fallback_below_db=0.0,
    ),
    "fq-vit": Recipe(name="fq-vit", softmax="log2", norm="power-of-two", fallback_below_db=0.0),
    "integer-transformer": Recipe(name="integer-transformer", scale_bits=8),
    "auto": Recipe(name="auto", softmax="auto", gelu="auto", norm="auto"),
}
"""Recipes by name. ``naive`` is what a straightforward 8-bit quantizer does, for comparison; those
named after a paper take its operators, ``auto`` the best in each layer (docs/operators.md)."""


def load_recipe(source: str | Path | dict[str, Any] | Recipe) -> Recipe:
    """A recipe from its name, a ``.toml`` or ``.json`` file, a dictionary, or itself.

    A file or dictionary may start from a named recipe with ``base = "intformer"``.

    Raises:
        RecipeError: unknown name or key, wrong type or value, unreadable file.
    """
    if isinstance(source, Recipe):
        return source
    if isinstance(source, dict):
        return _from_dict(source, "recipe")
    if str(source) in RECIPES:
        return RECIPES[str(source)]
    path = Path(source)
    if path.suffix not in (".toml", ".json"):
        known = ", ".join(RECIPES)
        raise RecipeError(f"unknown recipe '{source}': use {known}, or a .toml or .json file")
    return _from_dict(_read(path), str(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
        data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise RecipeError(f"cannot read recipe {path}: {error}") from None
    if not isinstance(data, dict):
        raise RecipeError(f"recipe {path} must be a table of settings")
    return data


def _from_dict(data: dict[str, Any], where: str) -> Recipe:
    data = dict(data)
    base = data.pop("base", "intformer")
    if not isinstance(base, str) or base not in RECIPES:
        raise RecipeError(f"{where}: unknown base {base!r}; known: {', '.join(RECIPES)}")
    overrides = data.pop("overrides", {})
    settings = _checked(Recipe, data, where)
    if not isinstance(overrides, dict):
        raise RecipeError(f"{where}: overrides must map layer patterns to settings")
    settings["overrides"] = {k: _override(k, v, where) for k, v in overrides.items()}
    return dataclasses.replace(RECIPES[base], **settings)


def _override(pattern: str, data: Any, where: str) -> Override:
    try:
        re.compile(pattern)
    except re.error as error:
        raise RecipeError(
            f"{where}: override '{pattern}' is no regular expression: {error}"
        ) from None
    if not isinstance(data, dict):
        raise RecipeError(f"{where}: override '{pattern}' must be a table of settings")
    return Override(**_checked(Override, data, f"{where}: override '{pattern}'"))


def _checked(kind: type, data: dict[str, Any], where: str) -> dict[str, Any]:
    hints = get_type_hints(kind)
    for key, value in data.items():
        if key not in hints:
            raise RecipeError(f"{where}: unknown key '{key}'; known: {', '.join(sorted(hints))}")
        if not _fits(value, hints[key]):
            raise RecipeError(f"{where}: {key} = {value!r} is not allowed; {_allowed(hints[key])}")
        if key in LIMITS and not LIMITS[key][0] <= value <= LIMITS[key][1]:
            low, high = LIMITS[key]
            raise RecipeError(f"{where}: {key} = {value!r} must be between {low} and {high}")
    return dict(data)


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint) and not isinstance(value, bool)
    if get_args(hint):
        return any(_fits(value, option) for option in get_args(hint) if option is not type(None))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint)


def _allowed(hint: Any) -> str:
    options = [hint, *get_args(hint)]
    values = [v for option in options if get_origin(option) is Literal for v in get_args(option)]
    return f"use one of {values}" if values else f"it must be a {getattr(hint, '__name__', hint)}"
