"""Features of the processor, from /proc/cpuinfo, and an id of the machine."""

import functools
import hashlib
import os
import platform
from pathlib import Path


@functools.cache
def cpuinfo() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty where there is no such file."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def has_vnni() -> bool:
    """True where 8-bit products are summed in 32 bits by one instruction."""
    return "vnni" in cpuinfo().get("flags", "")


def has_bfloat16() -> bool:
    """True where products of bfloat16 numbers have an instruction; elsewhere they are slower than those of float32."""
    flags = cpuinfo().get("flags", cpuinfo().get("Features", "")).split()
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)


def saturates() -> bool:
    """True where ONNX Runtime's kernels sum two 8-bit products in 16 bits: x86 without VNNI, as far as we can tell."""
    return platform.machine().lower() in ("x86_64", "amd64") and bool(cpuinfo().get("flags")) and not has_vnni()


@functools.cache
def machine_id() -> str:
    """12 hex digits that stay the same for this installation of this machine, and differ from its twins'."""
    try:
        name = Path("/etc/machine-id").read_text().strip()
    except OSError:
        name = ""
    cpu = cpuinfo().get("model name", "")
    parts = (name or platform.node(), platform.machine(), cpu, str(os.cpu_count()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
