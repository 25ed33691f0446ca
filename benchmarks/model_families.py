"""Takes a small member of every transformer family of timm through the whole way of a model.

``python benchmarks/model_families.py`` captures, quantizes, verifies and runs each model (random
weights, noise images: it is about operators, not accuracy), compares the bytes of the reference,
the native runtime and ONNX Runtime, times the program against float32 engines (batch 1, one thread)
and writes the table into ``docs/models.md``. Every model runs in a process of its own. Results are
kept in ``--results``, one file each; what is found there is not run again. ``--again`` runs failed
models again, ``--no-speed`` skips the timing, and a later run with timing adds it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import geometric_mean
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
    "EVA": ("eva_large_patch14_196", SHALLOW),
    "Perception Encoder": ("vit_pe_core_tiny_patch16_384", SHALLOW),
    "ViT, mixed rotary": ("vit_small_patch16_rope_mixed_224", SHALLOW),
    "ViT, differential attention": ("vit_dlittle_patch16_reg1_gap_256", SHALLOW),
    "CoAtNeXt": ("coatnext_nano_rw_224", {}),
    "MaxxViT": ("maxxvit_rmlp_nano_rw_256", {}),
    "CPUBone": ("cpubone_b0_bfrobust", {}),
    "MobileNetV4 hybrid": ("mobilenetv4_hybrid_medium_075", {}),
    "CSATv2": ("csatv2", {}),
    "Qwen3 ViT": ("qwen3_vit_88m", SHALLOW),
    "DeepSeek ViT": ("deepseek_vit_412m", SHALLOW),
    "Gemma 4 ViT": ("gemma4_vit_167m", SHALLOW),
    "HaloNet": ("halonet26t", {}),
    "LambdaNet": ("lambda_resnet26t", {}),
}
"""Family -> a small member and what makes it smaller still; shapes are those of its image size."""

QUICK = {"rounding": "nearest", "bias_correction": False, "equalize": False}
"""What is changed in a recipe: the way of a model does not depend on it, its minutes do."""

STAGES = ("captured", "quantized", "verified", "identical")
PEERS = {"torch": "PyTorch", "ort": "ONNX Runtime", "openvino": "OpenVINO"}
"""Engines that run the float model."""

Result = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """How to examine a model."""

    images: int
    speed: bool
    rounds: int
    seconds: float
    recipe: str = "intformer"


def examine(name: str, changes: dict[str, Any], options: Options) -> Result:
    """Take one model as far as it goes; the reason says why not further."""
    found: Result = {"model": name, "reason": ""}
    try:
        _examine(found, name, changes, options)
    except Exception as error:  # any library may raise anything; the table names it
        found["reason"] = " ".join(str(error).split())[:160] or type(error).__name__
    return found


def _examine(found: Result, name: str, changes: dict[str, Any], options: Options) -> None:
    import torch

    import intformer
    from intformer.frontend import capture
    from intformer.frontend.preprocess import ImagePreprocess
    from intformer.frontend.sources import Source

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = awake(create(name, changes))
    size = changes.get("img_size") or model.pretrained_cfg["input_size"][-1]
    graph = capture(model, (torch.zeros(2, 3, size, size),), names=["pixels"], outputs=["logits"])
    found["captured"] = True
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (options.images, size, size, 3), dtype=np.uint8)
    source = Source(graph, ImagePreprocess((size, size)), model, "timm", name)
    program = intformer.quantize(source, [pixels], {"base": options.recipe, **QUICK})
    found["quantized"] = True
    program.verify()
    found["verified"] = True
    found["identical"], found["reason"] = compare(program, pixels[:1])
    if options.speed and found["identical"]:
        found["milliseconds"] = race(source, program, options)


def create(name: str, changes: dict[str, Any]) -> Any:
    """The model; timm imports torchvision but these models do not use it."""
    sys.path.insert(0, str(PROJECT / "tests"))
    from torchvision_stand_in import torchvision_for_import

    with torchvision_for_import():
        import timm
    return timm.create_model(name, pretrained=False, **changes).eval()


def awake(model: Any) -> Any:
    """Noise on parameters that start as one number: a head of zeros would agree with anything."""
    import torch

    for parameter in model.parameters():
        if parameter.numel() > 1 and float(parameter.detach().std()) < 1e-4:
            parameter.data += 0.02 * torch.randn_like(parameter)
    return model


def race(source: Any, program: Any, options: Options) -> dict[str, float | str]:
    """Milliseconds of the program and of the float model elsewhere, or what went wrong."""
    from intformer.evaluate.bench import prepare, runner

    plain = replace(source, module=exported(source))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "made.onnx"
        program.save(file)
        model = prepare.Model(source.name, plain, file)
        job, _ = prepare.make_job(Path(folder), model, batch=2, tokens=0)
        plan = runner.Plan((1,), (1,), options.rounds, options.seconds, tuple(PEERS))
        rows = runner.measure(job, plan, None)
    return {row.engine: row.problem or round(row.ms or 0, 3) for row in rows}


def exported(source: Any) -> Any:
    """The module as one function of plain PyTorch calls: a measured process need not have timm."""
    import torch

    example = (torch.zeros(2, *map(int, source.graph.types["pixels"].shape[1:])),)
    sizes = ({0: torch.export.Dim("N", max=64)},)
    program = torch.export.export(source.module, example, dynamic_shapes=sizes, strict=False)
    module = program.module(check_guards=False)
    plain = torch.fx.Graph()
    plain.output(plain.graph_copy(module.graph, {}))
    return torch.fx.GraphModule(module, plain)


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


def run_all(args: argparse.Namespace) -> dict[str, Result]:
    """Examine what is not in the results yet, one process each."""
    options = Options(args.images, args.speed, args.rounds, args.seconds)
    for family, (name, changes) in FAMILIES.items():
        if not args.only or family in args.only:
            examine_once(args.results, family, name, changes, options, args)
    found = {family: read(args.results, name) for family, (name, _) in FAMILIES.items()}
    return {family: result for family, result in found.items() if result}


def examine_once(
    folder: Path,
    title: str,
    name: str,
    changes: dict[str, Any],
    options: Options,
    args: argparse.Namespace,
) -> None:
    """Examine a model in a process of its own unless its result is in the folder."""
    if is_known(read(folder, name), options.speed, args.again):
        return
    start = time.monotonic()
    result = alone(name, changes, options, args.timeout)
    folder.mkdir(parents=True, exist_ok=True)
    path(folder, name).write_text(json.dumps(result, indent=1) + "\n")
    print(f"{title}: {result} ({time.monotonic() - start:.0f} s)", flush=True)


def path(folder: Path, name: str) -> Path:
    """Where the result of a model is."""
    return folder / f"{name}.json"


def read(folder: Path, name: str) -> Result:
    """A result, empty if there is none."""
    file = path(folder, name)
    return json.loads(file.read_text()) if file.is_file() else {}


def is_known(result: Result, speed: bool, again: bool) -> bool:
    """Whether a model need not be run."""
    if not result or (again and not result.get("identical")):
        return False
    return "milliseconds" in result or not (speed and result.get("identical"))


def alone(name: str, changes: dict[str, Any], options: Options, timeout: int) -> Result:
    """``examine`` in a process of its own, at most ``timeout`` seconds."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        job = pool.apply_async(examine, (name, changes, options))
        try:
            return job.get(timeout)
        except multiprocessing.TimeoutError:
            return {"model": name, "reason": f"not finished in {timeout} seconds"}


def times(result: Result) -> tuple[str, str]:
    """Milliseconds of ours, and how much longer the fastest float engine takes."""
    known = peers_of(result)
    if not known:
        return "", ""
    ours = float(result["milliseconds"]["intformer"])
    fastest = min(known, key=known.__getitem__)
    alone = "" if len(known) > 1 else " alone"
    return f"{ours:.1f}", f"{known[fastest] / ours:.2f}x {PEERS[fastest]}{alone}"


def peers_of(result: Result) -> dict[str, float]:
    """Milliseconds of the engines that could take part."""
    measured = result.get("milliseconds", {})
    return {k: ms for k, ms in measured.items() if k in PEERS and isinstance(ms, float | int)}


def shape_of(name: str, changes: dict[str, Any]) -> str:
    """The model, and what was made smaller."""
    return ", ".join([f"`{name}`", *(f"{key} {value}" for key, value in changes.items())])


def table(results: dict[str, Result]) -> str:
    """The Markdown table and lines that count."""
    lines = [
        f"| family | model | {' | '.join(STAGES)} | ms | fastest float32 peer | why not |",
        "|---" * (len(STAGES) + 2) + "|---:|---:|---|",
    ]
    for family, result in results.items():
        marks = ["yes" if result.get(stage) else "no" for stage in STAGES]
        reason = str(result["reason"]).replace("|", "/")
        cells = [family, shape_of(*FAMILIES[family]), *marks, *times(result), reason]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *summary(results)])


def summary(results: dict[str, Result]) -> list[str]:
    """How many go all the way, and how fast they are on the whole."""
    whole = sum(bool(result.get("identical")) for result in results.values())
    share = 100 * whole / max(len(results), 1)
    lines = [f"{whole} of {len(results)} families ({share:.0f} %) go all the way."]
    timed = [result for result in results.values() if len(peers_of(result)) == len(PEERS)]
    ratios = [float(times(result)[1].split("x")[0]) for result in timed]
    if ratios:
        ahead = sum(ratio > 1 for ratio in ratios)
        lines.append(
            f"Against the fastest of {', '.join(PEERS.values())} (float32, batch 1, one thread), "
            f"where all of them run the model: geometric mean {geometric_mean(ratios):.2f}x, "
            f"faster in {ahead} of {len(ratios)}."
        )
    return lines


def write(page: Path, marks: tuple[str, str], content: str) -> None:
    """Replace what is between two marks of a page."""
    head, rest = page.read_text(encoding="utf-8").split(marks[0])
    tail = rest.split(marks[1])[1]
    page.write_text(f"{head}{marks[0]}\n{content}\n{marks[1]}{tail}", encoding="utf-8")


def add_options(parser: argparse.ArgumentParser, timeout: int) -> None:
    """What every examination of models takes."""
    parser.add_argument("--images", type=int, default=2, help="calibration images")
    parser.add_argument("--again", action="store_true", help="run failed models again")
    parser.add_argument("--timeout", type=int, default=timeout, help="seconds for one model")


def main() -> int:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=PROJECT / "out" / "families")
    parser.add_argument("--only", nargs="*", help="families to run")
    add_options(parser, timeout=600)
    parser.add_argument("--no-speed", dest="speed", action="store_false", help="do not time")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each engine")
    parser.add_argument("--seconds", type=float, default=0.2, help="timed seconds of one turn")
    write(PAGE, (BEGIN, END), table(run_all(parser.parse_args())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
