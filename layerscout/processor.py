"""What must be said to numerical libraries before they load."""

from __future__ import annotations

import os
from pathlib import Path

AVX512 = frozenset({"avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl"})
ZEN5 = 26  # AMD's "cpu family"


def name_core_type(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Tell OpenBLAS which kernels a Zen 5 processor runs, unless the user has said so.

    OpenBLAS 0.3.31, as numpy ships it, takes this family for a Haswell and leaves its AVX-512 units idle, which makes
    the probe's products about a quarter slower (OpenBLAS issues 6029 and 6033). Other processors are left alone.
    """
    if "OPENBLAS_CORETYPE" in os.environ:
        return
    try:
        first = cpuinfo.read_text().split("\n\n")[0]
    except OSError:
        return  # not Linux
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    if facts.get("vendor_id") == "AuthenticAMD" and facts.get("cpu family") == str(ZEN5) and set(facts.get("flags", "").split()) >= AVX512:
        os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"
