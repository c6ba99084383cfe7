"""Which point of the charts and tables is selected in a tab."""

from dataclasses import dataclass


@dataclass
class Selection:
    """`key` is the selected point's, '' without one. A table that is keyed by `cleared` loses its tick with it."""

    key: str = ""
    cleared: int = 0

    def clear(self) -> None:
        """Selects no point."""
        self.key, self.cleared = "", self.cleared + 1
