"""The compiled kernels hold no floating-point arithmetic or conversion."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOATING = re.compile(
    r"\b("
    r"v?(add|sub|mul|div|sqrt|rcp|rcp14|rsqrt|rsqrt14|min|max|cmp\w*|addsub|hadd|hsub|dp|round"
    r"|rndscale|reduce|range|scalef|getexp|getmant|fixupimm)[sp][sdh]"
    r"|v?fn?m(add|sub|addsub|subadd)\w*[sp][sdh]"
    r"|v?u?comis[sdh]"
    r"|v?cvt\w+"
    r"|f(add|sub|mul|div|sqrt|ld|ild|ist|st|com|chs|abs)\w*"
    r")\b"
)


def kernel_objects() -> list[Path]:
    """Object files of the most recent build of the kernels in this tree."""
    found = ROOT.glob("build*/**/intformer_native.dir/native/kernels/**/*.o")
    builds: dict[Path, list[Path]] = {}
    for path in found:
        builds.setdefault(next(p for p in path.parents if p.name == "CMakeFiles"), []).append(path)
    newest = max(builds, key=lambda build: build.stat().st_mtime, default=None)
    return builds[newest] if newest else []


OBJECTS = kernel_objects()


def instructions(path: Path) -> list[str]:
    command = ["objdump", "--disassemble", "--no-show-raw-insn", str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.split("\t", 1)[1] for line in text.splitlines() if "\t" in line]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="knows x86 instructions")
@pytest.mark.skipif(not shutil.which("objdump"), reason="needs objdump")
@pytest.mark.skipif(not OBJECTS, reason="needs a build tree of the kernels")
def test_kernels_have_no_floating_point() -> None:
    count = 0
    for path in OBJECTS:
        listing = instructions(path)
        count += len(listing)
        guilty = [line for line in listing if FLOATING.search(line.split("#")[0])]
        assert not guilty, f"{path.name}: {guilty[:5]}"
    assert count > 10_000


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
    assert FLOATING.search(line)


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
    assert not FLOATING.search(line)
