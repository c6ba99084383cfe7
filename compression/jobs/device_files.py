"""Files for devices, which a worker writes: `.tflite`, a board's folder, a probe's zip. Importing this is cheap."""

from dataclasses import replace

from compression.errors import Unsupported, UserError
from compression.jobs import worker
from compression.jobs.messages import Request
from compression.jobs.questions import compressed_graph
from compression.recipe import Recipe
from compression.records.probe import ProbePackage
from compression.records.tflite import DeviceFile


def device_file(request: Request, onnx: bytes) -> DeviceFile:
    """The file of a request for LiteRT and TFLM, measured beside the ONNX file; or the sentence why there is none."""
    from compression.pipeline import tflite_file

    try:
        recipe = tflite_file.in_integers(Recipe.from_json(request.recipe))
        graph = compressed_graph(replace(request, recipe=recipe.to_json()))
        return DeviceFile(*tflite_file.written(graph, worker.prepared(request), onnx))
    except UserError as error:
        return DeviceFile(reason=str(error))


def board_folder(request: Request, written: DeviceFile, title: str) -> bytes:
    """The zip with a sketch that runs a written file on a board. Raises `Unsupported` as `boards.folder` does."""
    from compression.boards import Board, folder

    assert written.measured is not None
    return folder(Board(written.content, written.measured, worker.prepared(request).data, title))


def probe_package(request: Request, runs: tuple[tuple[str, str, bytes, str], ...]) -> ProbePackage:
    """The zip for another machine with the fp32 file and those of runs; see `probing`.

    A run is its id, title and file, and the recipe, as JSON, by which its `.tflite` file is written; '' for none.
    """
    from compression.probing.package import Packed, package

    prepared = worker.prepared(request)
    packed, without = [Packed("fp32", "fp32 baseline", prepared.baseline.onnx, baseline=True)], []
    for run, title, onnx, recipe in runs:
        tflite = b""
        if recipe:
            try:
                tflite = _tflite(replace(request, recipe=recipe))
            except Unsupported as error:
                without.append((title, str(error)))
        packed.append(Packed(run, title, onnx, tflite=tflite))
    return ProbePackage(package(packed, prepared.data, prepared.data.fingerprint), tuple(without))


def _tflite(request: Request) -> bytes:
    """The file of a request for LiteRT. Raises `Unsupported` where the network has no such form."""
    from compression.export.tflite import export
    from compression.pipeline import tflite_file

    recipe, prepared = Recipe.from_json(request.recipe), worker.prepared(request)
    form = tflite_file.form_of(recipe)
    recipe = tflite_file.in_integers(recipe) if form == "int8" else recipe
    graph = compressed_graph(replace(request, recipe=recipe.to_json()))
    return export(graph, prepared.data.input_shape, prepared.calibration.images, form)
