"""Networks saved by `torch.export.save`, read as data: JSON and raw tensors, by a reader of our own.

`torch.export.load` unpickles sample inputs, runs the source text of guards, evaluates symbolic expressions as Python
and finds operators by any dotted name below `torch`. Nothing of PyTorch's reader is used here.

`archive` knows the entries, `tensors` and `program` what is in them, `operators` what may be called, and `network`
makes a module of it all, which is traced like any other; `rehearsal` runs it first.
"""

from pathlib import Path

from compression.errors import InvalidFile
from compression.network.pt2.archive import GRAPH, Archive
from compression.network.pt2.fields import Malformed
from compression.network.pt2.network import Network
from compression.network.pt2.program import read_program
from compression.network.pt2.rehearsal import rehearse
from compression.network.pt2.tensors import Stored

__all__ = ["load_pt2"]


def load_pt2(path: str | Path) -> Network:
    """The network in a `.pt2` file, in float32, in eval mode; it takes any number of images.

    Raises `InvalidFile` for what torch.export.save has not written, and `InvalidModel` for a network that calls what is
    not allowed, does not take images of floats, or does not run.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidFile(f"There is no file {str(path)!r}.")
    try:
        with Archive(path) as archive:
            program = read_program(archive.read_json(GRAPH))
            network = Network(program, Stored(archive))
    except Malformed as error:
        raise InvalidFile(f"{str(path)!r} is not a network saved by torch.export.save: {error}.") from None
    rehearse(network)
    network.eval()
    return network
