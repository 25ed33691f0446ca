"""Ratios, losses and tables follow from the rows."""

import pytest

from intformer.evaluate.bench.results import Results, Row, fastest, losses, ratios
from intformer.evaluate.bench.tables import body, header, markdown, notes, ratio_lines

PRECISION = {"torch": "float32", "ort": "float32", "ort-u8s8": "int8"}


def row(engine, threads, batch, ms, **more):
    return Row(engine, engine, PRECISION.get(engine, "int8"), threads, batch, ms, **more)


@pytest.fixture
def rows():
    return [
        row("intformer", 1, 1, 10.0, agreement=0.99, memory_mb=50.4),
        row("intformer@avx2", 1, 1, 40.0),
        row("torch", 1, 1, 80.0, agreement=1.0),
        row("ort", 1, 1, 40.0),
        row("ort-u8s8", 1, 1, 20.0),
        row("intformer", 2, 8, 30.0, agreement=0.97),
        row("intformer@avx2", 2, 8, 60.0),
        row("torch", 2, 8, 60.0, agreement=1.0),
        row("ort", 2, 8, 270.0),
        row("ort-u8s8", 2, 8, 15.0),
    ]


def test_ratios_are_geometric_means_over_configurations(rows):
    found = ratios(rows)
    assert found["fastest_float"] == pytest.approx((4 * 2) ** 0.5)
    assert found["fastest_int8"] == pytest.approx((2 * 0.5) ** 0.5)
    assert found["torch_eager"] == pytest.approx((8 * 2) ** 0.5)


def test_own_levels_are_no_peers(rows):
    assert ratios(rows, "intformer@avx2")["fastest_int8"] == pytest.approx((0.5 * 0.25) ** 0.5)
    slow_own = [row("intformer", 1, 1, 9.0), row("intformer@avx2", 1, 1, 1.0)]
    assert ratios(slow_own) == dict.fromkeys(("fastest_float", "fastest_int8", "torch_eager"))


def test_configurations_that_a_peer_lacks_do_not_count(rows):
    without = [r for r in rows if (r.engine, r.threads) != ("torch", 2)]
    assert ratios(without)["torch_eager"] == pytest.approx(8)


def test_fastest_skips_rows_without_a_time(rows):
    assert fastest([row("ort", 1, 1, None), row("torch", 1, 1, 3.0)]) == {(1, 1): 3.0}


def test_losses_name_engine_and_configuration(rows):
    assert losses(rows) == [{"engine": "ort-u8s8", "threads": 2, "batch": 8, "ratio": 0.5}]


def test_json_has_ratios_of_every_level(rows):
    found = Results("arch:x", rows).to_json()
    assert set(found["ratios_by_variant"]) == {"@avx2"}
    assert found["rows"][5]["ms_per_input"] == pytest.approx(30 / 8)
    assert found["losses"][0]["engine"] == "ort-u8s8"
    assert Results.from_json(found).to_json() == found


def test_table_has_a_column_per_configuration_and_means(rows):
    results = Results("arch:x", rows)
    assert header(results)[2:4] == ["#1 thread, batch 1", "#2 threads, batch 8"]
    ours = body(results)[0]
    assert ours[:5] == ["intformer", "int8", "10", "3.75", "50"]
    assert ours[5] == "0.9800"
    assert ours[6] == "–"


def test_markdown_shows_losses_problems_and_the_command(rows):
    rows.append(row("openvino", 1, 1, None, problem="not installed: pip install openvino"))
    settings = {"command": "intformer bench arch:x"}
    text = markdown(Results("arch:x", rows, {"processor": "Quick 9"}, settings=settings))
    assert "slower than ort-u8s8 at 2 threads, batch 8: 0.50x" in text
    assert "openvino: not installed: pip install openvino" in text
    assert "Quick 9" in text and "`intformer bench arch:x`" in text
    assert any("4.00x PyTorch float32 eager" in line for line in ratio_lines(Results("x", rows)))


def test_a_busy_machine_is_named(rows):
    assert not any("busy" in line for line in notes(Results("x", rows)))
    rows[0].waited, rows[1].waited = 0.3, 0.2
    (line,) = (line for line in notes(Results("x", rows)) if "busy" in line)
    assert "waited 0.05 s" in line and "0.30 s in the worst row" in line
