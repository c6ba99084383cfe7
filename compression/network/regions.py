"""Parts of a traced network that stand in graphs of their own, copied to where they are called."""

from typing import Any

from torch import fx
from torch._ops import HigherOrderOperator

from compression.errors import Unsupported
from compression.network.graph import operator_name
from compression.network.lifting import attribute

REGIONS = {"wrap_with_set_grad_enabled", "wrap_with_autocast"}
"""What `torch.no_grad()` and `torch.autocast()` inside of a network are traced as.

Neither changes what is computed: there are no gradients at inference, and everything is computed in float32.
"""


def inline_(source: fx.GraphModule) -> None:
    """Copies graphs that `source` calls, and those that they call, into its own. Raises `Unsupported` for branches."""
    for node in list(source.graph.nodes):
        called = _called(source, node)
        if called is not None:
            inline_(called[0])
            _copy_(source, node, *called)
    source.graph.eliminate_dead_code()


def _called(source: fx.GraphModule, node: fx.Node) -> tuple[fx.GraphModule, tuple[Any, ...]] | None:
    """The graph that `node` calls, and what it hands to it."""
    if node.op == "call_module":
        module = source.get_submodule(str(node.target))
        return (module, node.args) if isinstance(module, fx.GraphModule) else None
    if not isinstance(node.target, HigherOrderOperator):
        return None
    places = [i for i, read in enumerate(node.args) if isinstance(read, fx.Node) and _is_graph(source, read)]
    if operator_name(node) not in REGIONS or len(places) != 1:
        raise Unsupported(f"The network calls {operator_name(node)!r}, a choice or a loop; a fixed order is needed.")
    return attribute(source, str(node.args[places[0]].target)), node.args[places[0] + 1 :]  # type: ignore[union-attr]


def _is_graph(source: fx.GraphModule, read: fx.Node) -> bool:
    return read.op == "get_attr" and isinstance(attribute(source, str(read.target)), fx.GraphModule)


def _copy_(source: fx.GraphModule, node: fx.Node, inner: fx.GraphModule, handed: tuple[Any, ...]) -> None:
    """`inner`'s nodes in the place of `node`, which hands `handed` to them."""
    places = [n for n in inner.graph.nodes if n.op == "placeholder"]
    env: dict[fx.Node, Any] = dict(zip(places, handed, strict=True))
    prefix = f"{node.target}." if node.op == "call_module" else ""
    with source.graph.inserting_before(node):
        for each in inner.graph.nodes:
            if each.op == "output":
                break
            if each.op != "placeholder":
                env[each] = source.graph.node_copy(each, lambda n: env[n])
                if each.op in ("get_attr", "call_module"):
                    env[each].target = prefix + str(each.target)
    _hand_out_(node, fx.map_arg(inner.graph.output_node().args[0], lambda n: env[n]))


def _hand_out_(node: fx.Node, answer: Any) -> None:
    """Readers of `node` or of one of its values read `answer` instead."""
    if isinstance(answer, fx.Node):
        node.replace_all_uses_with(answer)
    for reader in list(node.users):
        if operator_name(reader) == "getitem":
            reader.replace_all_uses_with(answer[reader.args[1]])
            reader.graph.erase_node(reader)
    node.graph.erase_node(node)
