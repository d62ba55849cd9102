"""The roof as one more arm of a row, so that the limit is measured in the same run."""

import shutil
import subprocess
from typing import Any

from benchmarks.row import ROOT, Arm, Material

SOURCE = ROOT / "benchmarks" / "arms" / "stream.cpp"


def reply_limit(material: Material, **options: Any) -> list[Arm]:  # noqa: ANN401
    work = {
        "prompt_tokens": 256,
        "new_tokens": 128,
        "tiny": material.tiny,
        "reader": None if material.tiny else reader(material),
    }
    return [Arm(name="roof", make="benchmarks.arms.roof:Roof", options=work | options)]


def reader(material: Material) -> str | None:
    """The compiled reading loop, None without a compiler."""
    target = material.folder / "stream.so"
    compiler = shutil.which("g++")
    if not target.exists() and compiler is not None:
        flags = ["-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"]
        subprocess.run(  # noqa: S603 - the compiler that was found, on our own file
            [compiler, *flags, str(SOURCE), "-o", str(target)], check=True
        )
    return str(target) if target.exists() else None
