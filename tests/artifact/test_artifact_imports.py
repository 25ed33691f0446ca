"""Programs load and save on machines without torch and without the quantizer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import intformer.artifact
from intformer import artifact
from programs import vit_like

SCRIPT = """
import sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnxruntime", "timm", "transformers"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refused())
sys.path[:0] = sys.argv[1:3]
from programs import bert_like
from intformer import artifact
graph = artifact.load_bytes(artifact.to_onnx(bert_like()).SerializeToString())
artifact.check_golden(graph)
loaded = [name for name in sys.modules if name.split(".")[0] == "torch"]
loaded += [name for name in sys.modules if name.startswith("intformer.quantize.")]
assert not loaded, loaded
print(len(graph.nodes))
"""


def test_artifacts_need_no_torch() -> None:
    source = Path(intformer.artifact.__file__).parents[2]
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-c", SCRIPT, str(source), str(tests)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


RUN = """
import sys
sys.modules["onnx"] = None
from intformer import load
from intformer.artifact import check_golden
program = load(sys.argv[1])
check_golden(program.graph, lambda graph, inputs: program.run(inputs))
"""


def test_loading_and_running_import_no_onnx(tmp_path: Path) -> None:
    artifact.save(vit_like(), tmp_path / "vit.onnx")
    source = str(Path(intformer.artifact.__file__).parents[2])
    command = [sys.executable, "-c", RUN, str(tmp_path / "vit.onnx")]
    environment = {**os.environ, "PYTHONPATH": source}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def test_public_names() -> None:
    assert set(artifact.__all__) == {"check_golden", "load", "load_bytes", "save", "to_onnx"}
    assert all(hasattr(artifact, name) for name in artifact.__all__)
