"""How many classifiers of torchvision and timm come in, by which way, and what can be done with them.

Each network has a process of its own (`coverage_network`) with limits of memory and time, so that a crash costs one
network. What was found is kept line by line: a run that is broken off goes on; `document` is the table of all lines.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import kept_results
from benchmarks.classifiers import NAMES

WAYS = {"module": "module", "torchscript": "ONNX, older exporter", "dynamo": "ONNX, newer exporter"}
RECIPES = ("8-bit", "zeros", "channels", "low rank", "codebooks")
STAGES = (*WAYS, "calibrate", *RECIPES, "quantize_static", "latency")
MEMORY_BYTES = 6 << 30
SECONDS = 900
"""Of the processor, for one network."""

SHARE = 1 / 30
"""Of a processor, at least, that a network's process gets on a busy machine: else it hangs."""

NEAR_DB = 60.0
ROOT = Path(__file__).resolve().parents[1]

Line = dict[str, Any]


def run(
    lines: Path, progress: Callable[[str, float], None], *, stages: Iterable[str] = STAGES, only: Iterable[str] = (),
    seconds: int = SECONDS,
) -> None:  # fmt: skip
    """Takes every network, or those of `only` in their order, through the stages that it was not taken through yet."""
    wanted, found = tuple(stages), read(lines)
    names = list(only) or sorted(NAMES, key=lambda name: _seconds(found.get(name)))
    for number, name in enumerate(names):
        left = [stage for stage in wanted if stage not in found.get(name, {}).get("asked", ())]
        if left:
            progress(name, number / len(names))
            kept_results.keep(one(name, left, seconds), lines)


def _seconds(known: Line | None) -> float:
    """What a network cost so far: the quickest come first."""
    return sum(each["seconds"] for each in known["stages"].values()) if known else 0.0


def one(name: str, stages: Iterable[str], seconds: int = SECONDS) -> Line:
    """What became of one network: its stages, and what its process said where it died."""
    wanted = list(stages)
    command = [sys.executable, "-m", "benchmarks.coverage_network", name, ",".join(wanted)]
    try:
        ended = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
            timeout=seconds / SHARE, check=False, preexec_fn=partial(_limit, seconds),
        )  # fmt: skip
        output, died = ended.stdout, _ending(ended.returncode, seconds)
    except subprocess.TimeoutExpired as late:
        output, died = (late.stdout or b"").decode(), "it hung"
    found = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return {"name": name, "asked": wanted, "stages": found, "died": died}


def _limit(seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def _ending(code: int, seconds: int) -> str:
    """Why a process ended that did not end by itself; '' for one that did."""
    if -code in (signal.SIGXCPU, signal.SIGKILL):
        return f"it took more than {seconds} seconds, or was killed"
    return f"its process ended with {code}" if code else ""


def read(lines: Path) -> dict[str, Line]:
    """All results by the network's name: of each stage, and of each death, the last."""
    found: dict[str, Line] = {}
    for line in kept_results.read(lines):
        kept = found.setdefault(line["name"], {"asked": [], "stages": {}, "died": {}})
        ran = {each["stage"]: each for each in line["stages"]}
        kept["asked"] += [stage for stage in line["asked"] if stage not in kept["asked"]]
        kept["stages"] |= ran
        first_missing = next((stage for stage in line["asked"] if stage not in ran), None)
        kept["died"] = {at: why for at, why in kept["died"].items() if at not in ran}
        if line["died"] and first_missing:
            kept["died"][first_missing] = line["died"]
    return found


def document(found: dict[str, Line], text: str) -> str:
    """The page docs/COVERAGE.md: what stands before its first table in `text`, and the tables of `found`."""
    head = text.partition(MARK)[0].rstrip()
    parts = [head, MARK, _summary(found), "## Refusals\n\n" + _refusals(found), _table(found)]
    return "\n\n".join(parts) + "\n"


MARK = "<!-- below: written by `python -m benchmarks coverage` -->"


def _summary(found: dict[str, Line]) -> str:
    rows = ["| Stage | Tried | Done | Refused | Died | Tracebacks |", "|---|---|---|---|---|---|"]
    for stage in STAGES:
        ran = [each for line in found.values() if (each := line["stages"].get(stage))]
        dead = sum(stage in line["died"] for line in found.values())
        if ran or dead:
            traced = sum(bool(each.get("traceback")) for each in ran)
            done = sum(each["ok"] for each in ran)
            refused = len(ran) - done - traced
            title = WAYS.get(stage, stage)
            rows.append(f"| {title} | {len(ran) + dead} | {done} | {refused} | {dead} | {traced} |")
    below = [
        f"{name} ({WAYS[way]}, {each['db']:.0f} dB)" for name, line in sorted(found.items()) for way in WAYS
        if (each := line["stages"].get(way)) and each["ok"] and each["db"] < NEAR_DB
    ]  # fmt: skip
    return "\n".join(rows) + f"\n\nfp32 files below {NEAR_DB:g} dB: {', '.join(below) or 'none'}."


def _refusals(found: dict[str, Line]) -> str:
    said = [
        f"- {name}, {WAYS.get(stage, stage)}: {each['reason']}"
        for name, line in sorted(found.items()) for stage, each in line["stages"].items() if not each["ok"]
    ]  # fmt: skip
    said += [f"- {name}, {at}: {why}." for name, line in sorted(found.items()) for at, why in line["died"].items()]
    return "\n".join(said) or "None."


def _table(found: dict[str, Line]) -> str:
    titles = [*WAYS.values(), *RECIPES, "time, W8A8", "time, `quantize_static`", "time, original"]
    rows = [
        "## Networks",
        "",
        "| Network | Parameters | " + " | ".join(titles) + " |",
        "|---|---|" + "---|" * len(titles),
    ]
    for name, line in sorted(found.items()):
        stages = line["stages"]
        count = stages.get("build", {}).get("parameters")
        million = f"{count / 1e6:.1f} M" if count else ""
        cells = [_cell(line, stage) for stage in (*WAYS, *RECIPES)] + _ratios(stages.get("latency"))
        rows.append(f"| {name} | {million} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _cell(line: Line, stage: str) -> str:
    """How near, seconds, peak; or what became of it."""
    if stage in line["died"]:
        return "died"
    if (each := line["stages"].get(stage)) is None:
        return ""
    if not each["ok"]:
        return "traceback" if each.get("traceback") else "refused"
    near = f"{each['db']:.0f} dB, " if stage in WAYS else ""
    one = ", for one image" if each.get("for_one_image") else ""
    return f"{near}{each['seconds']:.0f} s, {each['peak_mb'] / 1000:.1f} GB{one}"


def _ratios(latency: Line | None) -> list[str]:
    """Of our 8-bit file, ONNX Runtime's, and the file of PyTorch's exporter: time over that of our fp32 file."""
    if not latency or not latency["ok"]:
        return ["", "", ""]
    original = latency.get("torchscript", latency.get("dynamo"))
    return [f"{each[0]:.2f} ({each[1]:.2f} to {each[2]:.2f})" if each else ""
            for each in (latency.get("8-bit"), latency.get("static"), original)]  # fmt: skip
