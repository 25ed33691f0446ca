"""Takes a small member of every transformer family of timm through the whole way of a model.

``python benchmarks/model_families.py`` captures, quantizes, verifies and runs each model (random
weights, noise images: it is about operators, not accuracy), compares the bytes of the reference,
the native runtime and ONNX Runtime, and writes the table into ``docs/models.md``. Every model runs
in a process of its own. Results are kept in ``--results``; models found there are not run again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "models.md"
BEGIN, END = "<!-- families: begin -->", "<!-- families: end -->"
SHALLOW = {"depth": 2}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT": ("vit_tiny_patch16_224", SHALLOW),
    "DeiT": ("deit_tiny_patch16_224", SHALLOW),
    "DeiT distilled": ("deit_tiny_distilled_patch16_224", SHALLOW),
    "DeiT-III": ("deit3_small_patch16_224", SHALLOW),
    "Swin": ("swin_tiny_patch4_window7_224", {"depths": (2, 2, 2, 2)}),
    "Swin-V2": ("swinv2_tiny_window8_256", {"depths": (2, 2, 2, 2)}),
    "Swin-V2-CR": ("swinv2_cr_tiny_224", {"depths": (2, 2, 2, 2)}),
    "BEiT": ("beit_base_patch16_224", SHALLOW),
    "BEiT-V2": ("beitv2_base_patch16_224", SHALLOW),
    "CaiT": ("cait_xxs24_224", SHALLOW),
    "EVA-02": ("eva02_tiny_patch14_224", SHALLOW),
    "ViT, rotary": ("vit_base_patch16_rope_224", SHALLOW),
    "DINOv2": ("vit_small_patch14_dinov2", {"depth": 2, "img_size": 224}),
    "DINOv3": ("vit_small_patch16_dinov3", {"depth": 2, "img_size": 224}),
    "FlexiViT": ("flexivit_small", SHALLOW),
    "CLIP ViT": ("vit_base_patch32_clip_224", SHALLOW),
    "SigLIP ViT": ("vit_base_patch16_siglip_224", SHALLOW),
    "AIMv2": ("aimv2_large_patch14_224", SHALLOW),
    "ViT, relative positions": ("vit_relpos_small_patch16_224", SHALLOW),
    "ViT hybrid": ("vit_tiny_r_s16_p8_224", SHALLOW),
    "NaFlexViT": ("naflexvit_base_patch16_gap", SHALLOW),
    "SAM ViT": ("samvit_base_patch16_224", {"depth": 3}),
    "ViTamin": ("vitamin_small_224", {}),
    "PiT": ("pit_ti_224", {}),
    "MobileViT": ("mobilevit_xxs", {}),
    "MobileViT-V2": ("mobilevitv2_050", {}),
    "PoolFormer": ("poolformer_s12", {}),
    "PoolFormer-V2": ("poolformerv2_s12", {}),
    "ConvFormer": ("convformer_s18", {}),
    "CAFormer": ("caformer_s18", {}),
    "TNT": ("tnt_s_patch16_224", SHALLOW),
    "XCiT": ("xcit_nano_12_p16_224", SHALLOW),
    "Hiera": ("hiera_tiny_224", {}),
    "Hiera of SAM 2": ("hieradet_small", {}),
    "LeViT": ("levit_128s", {}),
    "Twins-SVT": ("twins_svt_small", {}),
    "Twins-PCPVT": ("twins_pcpvt_small", {}),
    "CrossViT": ("crossvit_tiny_240", {}),
    "ConViT": ("convit_tiny", {"depth": 3}),
    "VOLO": ("volo_d1_224", {}),
    "MaxViT": ("maxvit_rmlp_pico_rw_256", {}),
    "CoAtNet": ("coatnet_pico_rw_224", {}),
    "CoaT": ("coat_tiny", {}),
    "EfficientFormer": ("efficientformer_l1", {}),
    "EfficientFormer-V2": ("efficientformerv2_s0", {}),
    "MViT-V2": ("mvitv2_tiny", {}),
    "PVT-V2": ("pvt_v2_b0", {}),
    "DaViT": ("davit_tiny", {}),
    "EdgeNeXt": ("edgenext_xx_small", {}),
    "EfficientViT (MIT)": ("efficientvit_b0", {}),
    "EfficientViT (MSRA)": ("efficientvit_m0", {}),
    "FastViT": ("fastvit_t8", {}),
    "FocalNet": ("focalnet_tiny_srf", {}),
    "GC ViT": ("gcvit_xxtiny", {}),
    "NesT": ("nest_tiny", {}),
    "Next-ViT": ("nextvit_small", {}),
    "RepViT": ("repvit_m0_9", {}),
    "SHViT": ("shvit_s1", {}),
    "SwiftFormer": ("swiftformer_xs", {}),
    "TinyViT": ("tiny_vit_5m_224", {}),
    "Visformer": ("visformer_tiny", {}),
    "iFormer": ("iformer_t", {}),
    "LowFormer": ("lowformer_b0", {}),
    "BoTNet": ("botnet26t_256", {}),
}
"""Family -> a small member and what makes it smaller still; all shapes are ImageNet's."""

RECIPE = {"name": "quick", "rounding": "nearest", "bias_correction": False, "equalize": False}
STAGES = ("captured", "quantized", "verified", "identical")


def examine(name: str, options: dict[str, Any], images: int) -> dict[str, Any]:
    """Take one model as far as it goes; the reason says why not further."""
    import timm
    import torch

    import intformer
    from intformer.frontend import capture

    torch.manual_seed(0)
    torch.set_num_threads(1)
    found: dict[str, Any] = {"model": name, "reason": ""}
    try:
        model = timm.create_model(name, pretrained=False, **options).eval()
        size = options.get("img_size") or model.pretrained_cfg["input_size"][-1]
        example = (torch.zeros(2, 3, size, size),)
        graph = capture(model, example, names=["pixels"], outputs=["logits"])
        found["captured"] = True
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (images, size, size, 3), dtype=np.uint8)
        program = intformer.quantize(graph, [pixels], RECIPE)
        found["quantized"] = True
        program.verify()
        found["verified"] = True
        found["identical"], found["reason"] = compare(program, pixels[:1])
    except Exception as error:  # any library may raise anything; the table names it
        found["reason"] = " ".join(str(error).split())[:160] or type(error).__name__
    return found


def compare(program: Any, pixels: Any) -> tuple[bool, str]:
    """Whether the native runtime and ONNX Runtime give the bytes of the reference."""
    import onnxruntime

    from intformer import artifact
    from intformer.reference import interpret

    wanted = interpret(program.graph, {"pixels": pixels})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = artifact.to_onnx(program.graph, flat=True).SerializeToString()
    session = onnxruntime.InferenceSession(content, options)
    found = dict(zip(wanted, session.run(list(wanted), {"pixels": pixels}), strict=True))
    native = program.run({"pixels": pixels})
    for engine, result in (("native runtime", native), ("ONNX Runtime", found)):
        for key, array in wanted.items():
            if not np.array_equal(array, result[key]):
                return False, f"{engine} differs in {key}"
    return True, ""


def run_all(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Examine what is not in the results yet, one process each."""
    results = json.loads(args.results.read_text()) if args.results.is_file() else {}
    context = multiprocessing.get_context("fork")
    for family, (name, options) in FAMILIES.items():
        if family in results or (args.only and family not in args.only):
            continue
        start = time.monotonic()
        with context.Pool(1) as pool:
            job = pool.apply_async(examine, (name, options, args.images))
            try:
                result = job.get(args.timeout)
            except multiprocessing.TimeoutError:
                result = {"model": name, "reason": f"not finished in {args.timeout} seconds"}
        results[family] = result
        args.results.parent.mkdir(parents=True, exist_ok=True)
        args.results.write_text(json.dumps(results, indent=1) + "\n")
        print(f"{family}: {result} ({time.monotonic() - start:.0f} s)", flush=True)
    return {family: results[family] for family in FAMILIES if family in results}


def table(results: dict[str, dict[str, Any]]) -> str:
    """The Markdown table and a line that counts."""
    lines = [
        f"| family | model | {' | '.join(STAGES)} | why not |",
        "|---" * (len(STAGES) + 3) + "|",
    ]
    for family, result in results.items():
        marks = ["yes" if result.get(stage) else "no" for stage in STAGES]
        reason = str(result["reason"]).replace("|", "/")
        lines.append(f"| {family} | `{result['model']}` | {' | '.join(marks)} | {reason} |")
    whole = sum(bool(result.get("identical")) for result in results.values())
    share = 100 * whole / max(len(results), 1)
    return "\n".join(
        [*lines, "", f"{whole} of {len(results)} families ({share:.0f} %) go all the way."]
    )


def write(results: dict[str, dict[str, Any]]) -> None:
    """Replace the table between the marks of ``docs/models.md``."""
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    PAGE.write_text(f"{head}{BEGIN}\n{table(results)}\n{END}{tail}", encoding="utf-8")


def main() -> int:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=PROJECT / "out" / "families.json")
    parser.add_argument("--only", nargs="*", help="families to run")
    parser.add_argument("--images", type=int, default=2, help="calibration images")
    parser.add_argument("--timeout", type=int, default=600, help="seconds for one model")
    write(run_all(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
