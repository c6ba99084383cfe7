"""The `.tflite` file of a request, which a worker writes and measures. Importing this module is cheap; see `worker`."""

from dataclasses import replace

from compression.errors import UserError
from compression.jobs import worker
from compression.jobs.messages import Request
from compression.jobs.questions import compressed_graph
from compression.recipe import Recipe
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
