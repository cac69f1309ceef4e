"""Pins the processor's instruction set, so that the same decisions come out on every x86-64 processor.

The golden runs were written with kernels for AVX2; those for AVX-512 differ in the last bits. numpy decides as it is loaded, and
pytest's plugins load it before any `conftest.py`: this module is itself an early plugin (`-p` in `pyproject.toml`). Processes
that a test starts inherit the choice.
"""

import os
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")

if _CPUINFO.is_file() and " avx512f " in _CPUINFO.read_text(errors="replace"):
    os.environ.update(OPENBLAS_CORETYPE="Haswell", MKL_ENABLE_INSTRUCTIONS="AVX2", ATEN_CPU_CAPABILITY="avx2")
    os.environ["NPY_DISABLE_CPU_FEATURES"] = "X86_V4 AVX512_ICL AVX512_SPR"
