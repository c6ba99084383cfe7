"""Which layers of a network a technique leaves as they are."""

from torch import fx

from compression.errors import UnknownName
from compression.network.graph import layers, parts_of
from compression.steps import Step


def excluded_layers(graph: fx.GraphModule, step: Step) -> set[str]:
    """Names of the layers that a step excludes; of a product, all of its layers.

    Raises `UnknownName` for a layer that the network lacks.
    """
    names = list(layers(graph))
    for name in step.excluded:
        if name not in names:
            raise UnknownName(f"layer in {step.kind}.exclude", name, names)
    split = graph.meta["factorize"].splits if "factorize" in graph.meta else {}
    return {part for name in step.excluded for part in (name, *(parts_of(graph, name) if name in split else ()))}
