"""The command that says what this machine is, and what was measured of it once."""

import dataclasses
from typing import Annotated

import typer

from compression.cli.console import print_json, print_table, working
from compression.language import _


def machine(
    again: Annotated[bool, typer.Option("--again", help="Measure again instead of showing the stored result.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Show this machine and the multiple of channels that suits its kernels, measured once."""
    with working() as progress:
        from compression.host.channel_multiple import save
        from compression.host.machine import this_machine
        from compression.measure import channel_multiple

        progress(_("Timing small layers"), 0.0)
        if again:
            save(channel_multiple.measured())
        found, here = channel_multiple.rounding(), this_machine()
    if as_json:
        return print_json({"machine": dataclasses.asdict(here), "rounding": dataclasses.asdict(found)})
    print_table([
        ("processor", here.cpu), ("cores", str(here.cores)), ("system", here.system),
        (_("ONNX Runtime"), here.onnxruntime), ("channels.round_to", str(found.multiple)), ("because", found.reason),
    ])  # fmt: skip
