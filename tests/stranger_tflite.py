"""`.tflite` files of strangers: damaged bytes, and tables with one thing forged."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.damage import Rng, damaged_bytes

HUGE = (0, -1, 1, 3, 2**15, 2**31 - 1)


class TfliteFiles:
    """One of our own files in int8, and a float one, forged."""

    def __init__(self) -> None:
        from compression import data, models
        from compression.data.dataset import Split
        from compression.measure import tflite_runs
        from compression.pipeline.compress import compress_prepared, prepare
        from compression.pipeline.tflite_file import measured
        from compression.recipe import Recipe
        from compression.steps import Quantize

        digits = data.load("digits")
        prepared = prepare(models.load("lenet5", "digits"), digits, calibration_images=64)
        integers = Recipe(steps=(Quantize(weight_bits=8, activation_bits=8, placement="everywhere"),), quality="fast")
        recipes = ((integers, "int8"), (Recipe(quality="fast"), "float"))
        self.contents = [measured(compress_prepared(prepared, each), prepared, form)[0] for each, form in recipes]  # type: ignore[arg-type]
        tflite_runs.machine_lock = nullcontext  # type: ignore[assignment] # its file lies outside the case's folder
        self.data = replace(digits, test=Split(digits.test.images[:40], digits.test.labels[:40]))

    def make(self, rng: Rng, folder: Path) -> Path:
        """Damaged bytes, or a forged table."""
        path, content = folder / "network.tflite", rng.choice(self.contents)
        path.write_bytes(damaged_bytes(rng, content) if rng.random() < 0.5 else self._forged(rng, content))
        return path

    def _forged(self, rng: Rng, content: bytes) -> bytes:
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema

        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        for _ in range(rng.choice((1, 1, 2))):
            _forge(rng, model, schema)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def enter(self, path: Path) -> object:
        """As `measure FILE.tflite` takes it in."""
        from compression.pipeline.tflite_file import measure_tflite

        return measure_tflite(path, self.data)


def _forge(rng: Rng, model: Any, schema: Any) -> None:
    graph = model.subgraphs[0]
    tensor, operator = rng.choice(graph.tensors), rng.choice(graph.operators)
    kind = rng.randrange(9)
    if kind == 0:
        tensor.shape = [rng.choice(HUGE) for _ in range(rng.randrange(6))]
    elif kind == 1:
        tensor.type = rng.randrange(20)
    elif kind == 2:
        tensor.buffer = rng.choice((0, 1, len(model.buffers) - 1, 2**31))
    elif kind == 3:
        code = rng.choice(model.operatorCodes)
        code.builtinCode = code.deprecatedBuiltinCode = rng.randrange(127)
    elif kind == 4:
        operator.inputs = [rng.choice((-1, 0, len(graph.tensors), 2**31 - 1, *operator.outputs)) for _ in range(3)]
    elif kind == 5:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = [rng.choice((0.0, -1.0, float("nan"), 1e38))] * rng.choice((1, 2, 1000))
        tensor.quantization.zeroPoint = [rng.choice((-(2**63), 0, 300, 2**62))]
        tensor.quantization.quantizedDimension = rng.choice((-1, 0, 9))
    elif kind == 6:
        setattr(graph, rng.choice(("inputs", "outputs")), [rng.choice((-1, 0, len(graph.tensors), 2**31 - 1))])
    elif kind == 7:
        operator.opcodeIndex = rng.choice((1, len(model.operatorCodes), 2**31))
    else:
        rng.choice(model.buffers).data = bytes(rng.choice((0, 1, 7, 100_000)))
