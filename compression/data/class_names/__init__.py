"""Names of classes: ImageNet's, which class of a folder is which output of a network, and what users correct of that.

No torch in here: pages show the table and let users correct it.
"""

from compression.data.class_names.corrections import forget, keep, kept, read_corrections, state
from compression.data.class_names.imagenet import output_names
from compression.data.class_names.matching import LEFT_OUT, ClassMap, Matched, match

__all__ = [
    "LEFT_OUT", "ClassMap", "Matched", "forget", "keep", "kept", "match", "output_names", "read_corrections", "state",
]  # fmt: skip
