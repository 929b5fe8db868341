"""What this machine's processor is, and whether it computes faster in bfloat16. Imports torch late."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

# oneDNN's names of what it may use at most; what is not named here allows all
WITHOUT_BFLOAT16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
WITHOUT_AMX = WITHOUT_BFLOAT16 | {"AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX10_1_512", "AVX10_2_512"}


def processor(fact: str) -> str | None:
    """What Linux says of the first core under this name ("model name", "vendor_id"); None where it says nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    found = (line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == fact)
    return next(found, None) or None


@cache
def prefers_bfloat16() -> bool:
    """Whether products are faster in bfloat16 than in float32 here, by the processor's vendor and units alone.

    A measurement would not be the same in every process. docs/performance.md has those that this rests on.
    """
    import torch

    kernels = torch.backends.cpu.get_cpu_capability()
    return faster_in_bfloat16(processor("vendor_id"), torch.cpu.get_capabilities(), kernels, os.environ)


def faster_in_bfloat16(
    vendor: str | None, units: Mapping[str, object], kernels: str, environment: Mapping[str, str]
) -> bool:
    """The same of any processor: its vendor, its units as torch names them, and what torch may use of them.

    Matrix units (AMX) have several times the rate. The dot products of AVX-512 (avx512_bf16) have twice float32's on
    AMD's cores, and half of it on Intel's. `kernels` is the set that torch chose, ATEN_CPU_CAPABILITY permitting; the
    convolutions are oneDNN's, which has a variable of its own.
    """
    if kernels in {"DEFAULT", "AVX2"}:
        return False
    most = (environment.get("ONEDNN_MAX_CPU_ISA") or environment.get("DNNL_MAX_CPU_ISA") or "").upper()
    if units.get("amx_bf16") and most not in WITHOUT_AMX:
        return True
    return vendor == "AuthenticAMD" and bool(units.get("avx512_bf16")) and most not in WITHOUT_BFLOAT16
