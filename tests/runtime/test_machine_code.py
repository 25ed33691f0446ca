"""The compiled kernels hold no floating-point arithmetic or conversion."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from emulated import arm_runner

ROOT = Path(__file__).parents[2]
X86 = re.compile(
    r"\b("
    r"v?(add|sub|mul|div|sqrt|rcp|rcp14|rsqrt|rsqrt14|min|max|cmp\w*|addsub|hadd|hsub|dp|round"
    r"|rndscale|reduce|range|scalef|getexp|getmant|fixupimm)[sp][sdh]"
    r"|v?fn?m(add|sub|addsub|subadd)\w*[sp][sdh]"
    r"|v?u?comis[sdh]"
    r"|v?cvt\w+"
    r"|f(add|sub|mul|div|sqrt|ld|ild|ist|st|com|chs|abs)\w*"
    r")\b"
)
ARM = re.compile(r"^(f(?!mov\b)\w+|[su]cvtf|bf\w*(dot|mmla|mlal|cvt)\w*)\b")
"""``fmov`` moves bits; every other name in f is floating-point, and bf* are its 16-bit forms."""

OBJECTS = "CMakeFiles/intformer_native.dir/native/kernels/**/*.o"


def newest_build() -> list[Path]:
    """Object files of the most recent build of the extension in this tree."""
    trees = [p.parent for p in ROOT.glob("build*/**/CMakeFiles/intformer_native.dir")]
    own = [tree for tree in trees if not (tree.parent / "intformer_runner").exists()]
    newest = max(own, key=lambda tree: tree.stat().st_mtime, default=ROOT)
    return list(newest.parent.glob(OBJECTS))


HERE = newest_build()


def instructions(path: Path, objdump: str) -> list[str]:
    command = [objdump, "--disassemble", "--no-show-raw-insn", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.split("\t", 1)[1] for line in text.splitlines() if "\t" in line]


def assert_no_floating_point(
    objects: list[Path], objdump: str, floating: re.Pattern[str], comment: str
) -> None:
    count = 0
    for path in objects:
        listing = instructions(path, objdump)
        count += len(listing)
        guilty = [line for line in listing if floating.search(line.split(comment)[0])]
        assert not guilty, f"{path.name}: {guilty[:5]}"
    assert count > 10_000


@pytest.mark.skipif(platform.machine() != "x86_64", reason="knows x86 instructions")
@pytest.mark.skipif(not shutil.which("objdump"), reason="needs objdump")
@pytest.mark.skipif(not HERE, reason="needs a build tree of the kernels")
def test_kernels_have_no_floating_point() -> None:
    assert_no_floating_point(HERE, "objdump", X86, "#")


def test_kernels_for_arm_have_no_floating_point() -> None:
    objects = list(arm_runner().parent.glob(OBJECTS))
    assert {"arm_dotprod.cc.o", "arm_i8mm.cc.o", "portable.cc.o"} <= {p.name for p in objects}
    assert_no_floating_point(objects, "aarch64-linux-gnu-objdump", ARM, "//")


@pytest.mark.parametrize(
    "line",
    [
        "vaddps %ymm0,%ymm1,%ymm2",
        "mulsd %xmm0,%xmm1",
        "cvtsi2sd %eax,%xmm0",
        "vcvtdq2ps %zmm1,%zmm2",
        "vfmadd231ps %zmm0,%zmm1,%zmm2",
        "vcmpltpd %ymm0,%ymm1,%ymm2",
        "fildll (%rsp)",
        "ucomiss %xmm0,%xmm1",
        "vsqrtsd %xmm0,%xmm1,%xmm2",
    ],
)
def test_floating_point_would_be_found(line: str) -> None:
    assert X86.search(line)


@pytest.mark.parametrize(
    "line",
    [
        "vpaddd %ymm0,%ymm1,%ymm2",
        "vpmaddubsw %ymm0,%ymm1,%ymm2",
        "vpmaddwd %ymm0,%ymm1,%ymm2",
        "vpdpbusd %zmm0,%zmm1,%zmm2",
        "vmovaps %ymm0,%ymm1",
        "vpsubsw %xmm0,%xmm1,%xmm2",
        "sub $0x20,%rsp",
        "vpmuldq %ymm0,%ymm1,%ymm2",
        "cltd",
    ],
)
def test_integer_instructions_pass(line: str) -> None:
    assert not X86.search(line)


@pytest.mark.parametrize(
    "line",
    [
        "fadd\tv0.4s, v1.4s, v2.4s",
        "fmla\tv0.4s, v1.4s, v2.s[1]",
        "fcvtzs\tw0, s0",
        "scvtf\td0, x0",
        "ucvtf\tv0.2d, v0.2d",
        "fcmpe\td0, d1",
        "fsqrt\ts0, s1",
        "bfdot\tv0.4s, v1.8h, v2.8h",
        "bfcvtn\tv0.4h, v1.4s",
    ],
)
def test_floating_point_of_arm_would_be_found(line: str) -> None:
    assert ARM.search(line)


@pytest.mark.parametrize(
    "line",
    [
        "sdot\tv12.4s, v26.16b, v4.4b[2]",
        "usmmla\tv0.4s, v1.16b, v2.16b",
        "fmov\ts0, w1",
        "sqxtun\tv0.8b, v1.8h",
        "bfi\tw0, w1, #8, #8",
        "bfxil\tx0, x1, #0, #32",
        "sub\tsp, sp, #0x20",
    ],
)
def test_integer_instructions_of_arm_pass(line: str) -> None:
    assert not ARM.search(line)
