"""What must be said to numerical libraries before they load."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

AVX512 = frozenset({"avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl"})
ZEN5 = 26  # AMD's "cpu family"
WITHOUT_AVX512 = frozenset({"Haswell", "Zen"})  # OpenBLAS's names


def name_core_type(cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Tell OpenBLAS which kernels a Zen 5 processor runs, unless the user has said so.

    OpenBLAS 0.3.31, as numpy ships it, takes this family for a Haswell and leaves its AVX-512 units idle, which makes
    the probe's products about a quarter slower (OpenBLAS issues 6029 and 6033). Other processors are left alone.
    """
    if "OPENBLAS_CORETYPE" in os.environ:
        return
    facts = _facts(cpuinfo)
    if facts.get("vendor_id") == "AuthenticAMD" and facts.get("cpu family") == str(ZEN5) and set(facts.get("flags", "").split()) >= AVX512:
        os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"


def slow_kernels(libraries: Iterable[Mapping[str, Any]], cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Say so when OpenBLAS runs kernels without AVX-512 on a processor that has it, or return None.

    Parameters
    ----------
    libraries
        What ``threadpoolctl.threadpool_info`` tells.
    """
    used = {str(library.get("architecture")) for library in libraries if library.get("internal_api") == "openblas"}
    if not used & WITHOUT_AVX512 or not set(_facts(cpuinfo).get("flags", "").split()) >= AVX512:
        return None
    name = min(used & WITHOUT_AVX512)
    return f"OpenBLAS takes this processor for {name} and leaves its AVX-512 units idle; start again with OPENBLAS_CORETYPE=SkylakeX"


def _facts(cpuinfo: Path) -> dict[str, str]:
    """What /proc/cpuinfo says of the first core; nothing where there is no such file."""
    try:
        first = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
