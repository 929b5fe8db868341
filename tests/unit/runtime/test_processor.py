"""Which processors compute faster in bfloat16, told from planted facts of processors; and this one's own."""

import os
import subprocess
import sys

import pytest
import torch

from layerlottery.runtime import processor as room
from layerlottery.runtime.processor import faster_in_bfloat16, prefers_bfloat16, processor

AMD, INTEL = "AuthenticAMD", "GenuineIntel"
AVX2 = {"architecture": "x86_64", "avx2": True, "avx512_f": False, "avx512_bf16": False, "amx_bf16": False}
AVX512 = AVX2 | {"avx512_f": True}
BF16 = AVX512 | {"avx512_bf16": True}
AMX = BF16 | {"amx_tile": True, "amx_bf16": True}
NEOVERSE = {"architecture": "aarch64", "neon": True, "bf16": True, "sve_bf16": True}

PROCESSORS = [
    ("EPYC Milan (Zen 3)", AMD, AVX2, "AVX2", False),
    ("EPYC Genoa (Zen 4)", AMD, BF16, "AVX512", True),
    ("Xeon Ice Lake", INTEL, AVX512, "AVX512", False),
    ("Xeon Cooper Lake", INTEL, BF16, "AVX512", False),
    ("Xeon Sapphire Rapids", INTEL, AMX, "AVX512", True),
    ("a virtual Sapphire Rapids without AMX", INTEL, BF16, "AVX512", False),
    ("Neoverse V1", None, NEOVERSE, "SVE256", False),
    ("nothing known", None, {}, "DEFAULT", False),
    ("another vendor with the same units", "HygonGenuine", BF16, "AVX512", False),
]


@pytest.mark.parametrize(("name", "vendor", "units", "kernels", "expected"), PROCESSORS)
def test_vendor_and_units_decide(name, vendor, units, kernels, expected):
    assert faster_in_bfloat16(vendor, units, kernels, {}) is expected


@pytest.mark.parametrize(
    ("variables", "amd", "amx"),
    [
        ({"ONEDNN_MAX_CPU_ISA": "DEFAULT"}, True, True),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}, True, True),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, True, False),
        ({"ONEDNN_MAX_CPU_ISA": "avx512_core_vnni"}, False, False),
        ({"DNNL_MAX_CPU_ISA": "AVX2"}, False, False),
        # oneDNN reads its new name first
        ({"ONEDNN_MAX_CPU_ISA": "ALL", "DNNL_MAX_CPU_ISA": "AVX2"}, True, True),
    ],
)
def test_units_that_onednn_may_not_use_do_not_count(variables, amd, amx):
    assert faster_in_bfloat16(AMD, BF16, "AVX512", variables) is amd
    assert faster_in_bfloat16(INTEL, AMX, "AVX512", variables) is amx


@pytest.mark.parametrize("kernels", ["AVX2", "DEFAULT"])
def test_nor_do_those_that_torch_was_told_not_to_use(kernels):
    assert not faster_in_bfloat16(AMD, BF16, kernels, {})
    assert not faster_in_bfloat16(INTEL, AMX, kernels, {})


def test_a_fact_is_the_first_core_s(monkeypatch, tmp_path):
    text = "processor : 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9654: 96 cores\nbugs\t:\n\nvendor_id : x\n"
    held = tmp_path / "cpuinfo"
    held.write_text(text)
    monkeypatch.setattr(room, "Path", lambda name: held)
    assert processor("vendor_id") == AMD
    assert processor("model name") == "AMD EPYC 9654: 96 cores"
    assert processor("bugs") is processor("model") is None
    held.write_bytes(b"\xff\xfe")
    assert processor("vendor_id") is None
    held.unlink()
    assert processor("vendor_id") is None


@pytest.mark.slow
def test_the_name_is_that_of_py_cpuinfo():
    import cpuinfo

    if processor("model name") is not None:
        assert processor("model name") == cpuinfo.get_cpu_info()["brand_raw"]


LIMITS = {"ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"}


@pytest.mark.skipif(bool(LIMITS & os.environ.keys()), reason="torch may not use all units")
def test_this_processor_s_units_are_those_that_linux_names():
    flags = (processor("flags") or "").split()
    expected = "amx_bf16" in flags or (processor("vendor_id") == AMD and "avx512_bf16" in flags)
    assert prefers_bfloat16() is expected


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="there are no fewer kernels")
def test_torch_names_fewer_kernels_as_it_was_told():
    ask = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    told = os.environ | {"ATEN_CPU_CAPABILITY": "default"}
    ran = subprocess.run([sys.executable, "-c", ask], env=told, check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "DEFAULT"
