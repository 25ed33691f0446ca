"""Runs a command on a processor that claims to have AVX2 and nothing newer.

    python benchmarks/avx2_only/run.py intformer bench arch:deit_small

Every engine is held to AVX2, so that a machine with AVX-512 and VNNI shows what engines reach on
the many machines without. intformer, PyTorch, oneDNN, MKL and CTranslate2 have a variable for it.
ONNX Runtime and OpenVINO ask the processor themselves: their CPUID instructions are answered by
``hide.c`` (needs Linux, ``cc`` and ``objdump``). Before the command runs, a product that saturates
without VNNI instructions shows that the disguise holds.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BUILT = HERE.parents[1] / "out" / "avx2_only"
LIBRARIES = {
    "onnxruntime": ["capi/onnxruntime_pybind11_state*.so"],
    "openvino": ["libs/libopenvino.so.*", "libs/libopenvino_intel_cpu_plugin.so"],
}
VARIABLES = {
    "INTFORMER_ISA": "avx2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "CT2_FORCE_CPU_ISA": "AVX2",
}
CHECK = """
import numpy as np, onnx.helper as h, onnxruntime as ort
value = h.make_tensor_value_info
graph = h.make_graph([h.make_node("MatMulInteger", ["a", "b"], ["y"])], "full",
    [value("a", 2, [1, 64])], [value("y", 6, [1, 32])])
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
model.graph.initializer.append(h.make_tensor("b", 3, [64, 32], np.full(2048, 127, np.int8)))
session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
(y,) = session.run(None, {"a": np.full((1, 64), 255, np.uint8)})
raise SystemExit(int((y == 64 * 127 * 255).all()))
"""


def libraries() -> list[Path]:
    """Files of installed packages that execute CPUID."""
    found = []
    for package, patterns in LIBRARIES.items():
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            files = [f for pattern in patterns for f in sorted(Path(folder).glob(pattern))]
            found += [f for f in files if not f.is_symlink()]
    return found


def cpuid_sites(library: Path) -> str:
    """Lines "LIBRARY OFFSET" for ``hide.c``; kept, since large libraries take a minute."""
    kept = BUILT / f"{library.name}-{library.stat().st_size}.txt"
    if not kept.exists():
        print(f"looking for CPUID in {library.name} ...", file=sys.stderr)
        command = ["objdump", "-d", "--no-show-raw-insn", str(library)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as dump:
            assert dump.stdout is not None
            lines = [line.split() for line in dump.stdout if "cpuid" in line]
        offsets = [line[0].rstrip(":") for line in lines if line[1:2] == ["cpuid"]]
        kept.write_text("".join(f"{library.name} {offset}\n" for offset in offsets))
    return kept.read_text()


def disguise() -> dict[str, str]:
    """The environment of the command."""
    BUILT.mkdir(parents=True, exist_ok=True)
    module, sites = BUILT / "hide.so", BUILT / "sites.txt"
    command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(module), str(HERE / "hide.c")]
    subprocess.run(command, check=True)
    sites.write_text("".join(map(cpuid_sites, libraries())))
    return {**os.environ, **VARIABLES, "LD_AUDIT": str(module), "HIDE_LIST": str(sites)}


def main() -> None:
    """Build, check and become the command."""
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    environment = disguise()
    if subprocess.run([sys.executable, "-c", CHECK], env=environment).returncode:
        raise SystemExit("the disguise does not hold: a product of ONNX Runtime is exact")
    os.execvpe(sys.argv[1], sys.argv[1:], environment)


if __name__ == "__main__":
    main()
