"""What a tab compresses, and how: the network, the images and the recipe."""

from typing import NamedTuple

from compression.jobs import Request
from compression.recipe import Recipe
from pages.ui.model.subject import Subject


class Choice(NamedTuple):
    """A network with its images, and a recipe for them."""

    subject: Subject
    recipe: Recipe

    @property
    def request(self) -> Request:
        """The request that has a worker carry out the recipe."""
        return Request(self.subject.model, self.subject.weights, self.subject.dataset, self.recipe.to_json())

    def with_recipe(self, recipe: Recipe) -> "Choice":
        """The same network and images with another recipe."""
        return self._replace(recipe=recipe)
