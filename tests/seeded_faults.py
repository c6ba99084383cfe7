"""Small faults in the engine and in the pages, each of which has to turn a test red.

`python -m tests.seeded_faults` plants one after another in a copy of the project and prints which test found it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from compression.jobs.cluster import ROOT

LEFT_OUT = (".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis")
PATIENCE_S = 600


@dataclass(frozen=True)
class Fault:
    """`right` stands once in the Python files of `folder` and becomes `wrong`, which `tests` are to see."""

    title: str
    folder: str
    right: str
    wrong: str
    tests: str


FAULTS = (
    Fault(
        "GPTQ adds an error where it makes up for it", "compression/solvers",
        "rest[i + 1 : end] -= u[i, i + 1 : end, :, None] * errors[i]",
        "rest[i + 1 : end] += u[i, i + 1 : end, :, None] * errors[i]",
        "tests/solvers/test_solvers.py",
    ),
    Fault(
        "Masked weights come back in coordinate descent", "compression/solvers",
        "new *= keep[i]", "new *= 1", "tests/solvers/test_solvers.py",
    ),
    Fault(
        "Bits of codes are packed from the second one on", "compression/export",
        "(codes[:, None] >> np.arange(bits, dtype=np.uint8)) & 1",
        "(codes[:, None] >> np.arange(1, bits + 1, dtype=np.uint8)) & 1",
        "tests/export/test_files.py -k twin",
    ),
    Fault(
        "The smallest file is chosen on test images", "compression/jobs",
        "held_out = replace(prepared.data, test=prepared.choosing.validation)", "held_out = prepared.data",
        "tests/pages/test_explore.py -k no_say_in_the_choice",
    ),
    Fault(
        "Wilson's interval takes z for z²", "compression/records",
        "Z95**2", "Z95", "tests/measure/test_measure.py -k wilson",
    ),
    Fault(
        "McNemar's test has one side", "compression/measure",
        "2 * tail / 2**n", "tail / 2**n", "tests/measure/test_measure.py -k mcnemar",
    ),
    Fault(
        "The zero point of activations has the other sign", "compression/techniques/quantization",
        "round(-low / scale)", "round(low / scale)", "tests/pipeline/test_pipeline.py -k eight_bits_cost",
    ),
    Fault(
        "Padding of a convolution has its sides swapped", "compression/network",
        "left, right, above, below = (a + b for a, b in zip(padding_of(layer)",
        "right, left, above, below = (a + b for a, b in zip(padding_of(layer)",
        "tests/network/test_zero_padding.py -k same_is_folded",
    ),
    Fault(
        "A link forgets its run", "pages/ui/model",
        "({RUN: run} if run else {})", "({RUN: run} if not run else {})", "tests/pages/test_links.py",
    ),
    Fault(
        "Undo goes back to the oldest recipe", "pages/ui/state",
        "self.past.pop()", "self.past.pop(0)", "tests/pages/test_visit.py",
    ),
    Fault(
        "A budget allows what is larger", "pages/ui/model",
        "measured.size_bytes <= 1000 * self.size", "measured.size_bytes >= 1000 * self.size",
        "tests/pages/test_charts.py",
    ),
    Fault(
        "Points tie that are inside one interval only", "pages/ui/model",
        "~(inside & inside.T)", "~inside", "tests/pages/test_charts.py",
    ),
)  # fmt: skip


def place(fault: Fault, root: Path) -> Path:
    """The file that the fault is planted in. Raises `LookupError` where its text has changed."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted((root / fault.folder).rglob("*.py"))}
    found = {path: text.count(fault.right) for path, text in texts.items() if fault.right in text}
    if sum(found.values()) != 1:
        raise LookupError(
            f"{fault.title!r} cannot be planted: {fault.right!r} stands {sum(found.values())} times in {fault.folder}, "
            "not once; tests/seeded_faults.py has to name the line as it is now."
        )
    return next(iter(found))


def copied(folder: Path) -> Path:
    """A copy of the project in `folder`, to plant faults in."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return folder


def found_by(fault: Fault, copy: Path) -> str | None:
    """The test that sees the fault, or None; the copy of the project is afterwards as it was."""
    path = place(fault, copy)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(fault.right, fault.wrong), encoding="utf-8")
    try:
        return failed(fault.tests, copy)
    finally:
        path.write_text(text, encoding="utf-8")


def failed(tests: str, copy: Path) -> str | None:
    """The first of `tests`, as pytest takes them, that fails in the copy. Raises `RuntimeError` if none can be run."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests.split()]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    # A stored byte code of the other text would pass for this one's: the two are as long and as old.
    alone["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(command, cwd=copy, env=alone, capture_output=True, text=True, timeout=PATIENCE_S)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{tests} cannot be run:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    seen = re.search(r"^FAILED (.+?)( - .*)?$", done.stdout, re.MULTILINE)
    return seen[1] if seen else None


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = copied(Path(folder) / "project")
        print("| fault | found by |\n|---|---|")
        for fault in FAULTS:
            print(f"| {fault.title} | {found_by(fault, copy) or 'NOTHING'} |", flush=True)


if __name__ == "__main__":
    main()
