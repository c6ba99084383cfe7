"""Undo and Redo of a tab's recipes."""

from dataclasses import dataclass, field

from compression.recipe import Recipe


@dataclass
class History:
    """The recipes before the current one, oldest first, and those that Redo brings back, the next one last."""

    past: list[Recipe] = field(default_factory=list)
    undone: list[Recipe] = field(default_factory=list)

    def record(self, recipe: Recipe) -> None:
        """Adds the recipe that another one replaces; nothing can be redone after that."""
        self.past, self.undone = [*self.past, recipe], []

    def undo(self, current: Recipe) -> Recipe:
        """The recipe before `current`, or `current` where there is none."""
        if not self.past:
            return current
        self.undone.append(current)
        return self.past.pop()

    def redo(self, current: Recipe) -> Recipe:
        """The recipe that was undone last, or `current` where there is none."""
        if not self.undone:
            return current
        self.past.append(current)
        return self.undone.pop()
