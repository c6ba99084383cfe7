"""Whether WebAssembly folds our decoders when a file is loaded: packed files beside their unpacked twins, in Chromium.

All run in one page with `onnxruntime-web` on one thread, in turns; so many runs are timed together as browsers' clocks
need. A packed file whose decoders are folded takes as long as its twin; *as written*, without any optimisation, it
takes longer by the time of its decoders.
"""

import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from benchmarks.quiet import Quiet
from benchmarks.report import Report, table
from benchmarks.ui import CHROMIUM
from compression.cli import inputs
from compression.cli.console import Progress
from compression.export import export
from compression.host.machine import this_machine
from compression.pipeline import compress
from compression.probing import browser_runtime

ROWS: dict[str, tuple[str, ...]] = {
    "W8A8": ("quantize.weight_bits=8",),
    "W4A8": ("quantize.weight_bits=4",),
    "80% sparse, W4A8": ("prune.sparsity=0.8", "quantize.weight_bits=4"),
    "W4, weights only": ("quantize.weight_bits=4", "quantize.activation_bits=32"),
    "16 values, weights only": ("share.entries=16",),
}
TURNS, BLOCK_MS, WARM_UP_MS, LOADS = 40, 15, 500, 3
AS_WRITTEN = ", as written"
"""What the names of files end with that run without any optimisation: there decoders run each time."""
MEASURE = """async ({ names, ending, values, shape, turns, block, warmUp, loads }) => {
  const ort = await import("/ort.wasm.bundle.min.mjs")
  ort.env.wasm.numThreads = 1
  const files = []
  for (const name of names) {
    const content = new Uint8Array(await (await fetch(name.replace(ending, ""))).arrayBuffer())
    const file = { name, loads: [], ms: [] }
    for (let i = 0; i < loads; i++) {
      const began = performance.now()
      file.session = await ort.InferenceSession.create(content, {
        executionProviders: ["wasm"], graphOptimizationLevel: name.endsWith(ending) ? "disabled" : "all" })
      file.loads.push(performance.now() - began)
    }
    files.push(file)
  }
  const feed = (file) => ({ [file.session.inputNames[0]]: new ort.Tensor("float32", Float32Array.from(values), shape) })
  for (const file of files) {
    const began = performance.now()
    let runs = 0
    while (performance.now() - began < warmUp || runs < 5) { await file.session.run(feed(file)); runs++ }
    file.together = Math.max(1, Math.ceil(block * runs / (performance.now() - began)))
  }
  for (let turn = 0; turn < turns; turn++) {
    const order = files.map((file) => [Math.random(), file]).sort((a, b) => a[0] - b[0])
    for (const [, file] of order) {
      const input = feed(file)
      const began = performance.now()
      for (let k = 0; k < file.together; k++) await file.session.run(input)
      file.ms.push((performance.now() - began) / file.together)
    }
  }
  return files.map(({ name, loads, ms }) => ({ name, loads, ms }))
}"""


class _Quietly(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def run(model: str, dataset: str, quiet: Quiet, progress: Progress) -> Report:
    """Writes every row's two files and times them beside the fp32 one."""
    data = inputs.load_data(dataset)
    prepared = compress.prepare(inputs.load_model(model, data), data)
    image = data.normalize(data.test.images[:1]).numpy()
    rows: dict[str, Any] = {}
    for position, (name, settings) in enumerate(ROWS.items()):
        progress(name, position / len(ROWS))
        graph = compress.simulate(prepared, inputs.read_recipe(None, [*settings, "quality=fast"], 0))
        packed, twin = export(graph, data.input_shape).onnx, export(graph, data.input_shape, packed=False).onnx
        rows[name] = _in_turns({"fp32": prepared.baseline.onnx, "packed": packed, "unpacked": twin}, image)
    title = f"{model} on {dataset}; onnxruntime-web {browser_runtime.VERSION} in Chromium, 1 thread, 1 image."
    return Report("browser", model, dataset, this_machine(), quiet, {"rows": rows}, f"{title}\n\n{_table(rows)}")


def _in_turns(files: dict[str, bytes], image: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of loading and of each turn, by the file's name."""
    with tempfile.TemporaryDirectory() as place:
        for name, content in files.items():
            (Path(place) / name).write_bytes(content)
        for name in browser_runtime.FILES:
            (Path(place) / name).write_bytes((browser_runtime.folder() / name).read_bytes())
        (Path(place) / "index.html").write_text("<!doctype html><title>Timing</title>")
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quietly, directory=place)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            names = [*files, *(name + AS_WRITTEN for name in ("packed", "unpacked"))]
            found = _timed(f"http://127.0.0.1:{server.server_port}/", names, image)
            server.shutdown()
    return {each["name"]: {"loads": each["loads"], "ms": each["ms"]} for each in found}


def _timed(address: str, names: list[str], image: np.ndarray) -> list[dict[str, Any]]:
    about = {
        "names": names, "ending": AS_WRITTEN, "values": image.reshape(-1).tolist(), "shape": list(image.shape),
        "turns": TURNS, "block": BLOCK_MS, "warmUp": WARM_UP_MS, "loads": LOADS,
    }  # fmt: skip
    with sync_playwright() as playwright:
        path = CHROMIUM if Path(CHROMIUM).exists() else None
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)
        found = page.evaluate(MEASURE, about)
        browser.close()
    return found


def _table(rows: dict[str, Any]) -> str:
    header = "file", "fp32, ms", "packed", "unpacked", "packed / unpacked", "as written", "loading, packed", "unpacked"
    return table(header, [_cells(name, row) for name, row in rows.items()])


def _cells(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    written = [float(np.median(row[each + AS_WRITTEN]["ms"])) for each in ("packed", "unpacked")]
    times = [float(np.median(row[each]["ms"])) for each in ("fp32", "packed", "unpacked")]
    ratios = np.log(np.array(row["packed"]["ms"]) / np.array(row["unpacked"]["ms"]))
    resampled = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.exp(np.quantile(np.median(resampled, axis=1), (0.025, 0.975)))
    loads = [float(np.median(row[each]["loads"])) for each in ("packed", "unpacked")]
    return (
        name, *(f"{ms:.3g}" for ms in times), f"{np.exp(np.median(ratios)):.2f} ({low:.2f} to {high:.2f})",
        f"{written[0]:.3g} and {written[1]:.3g}",
        *(f"{ms:.0f}" for ms in loads),
    )  # fmt: skip
