"""What the files that a recipe names hold: read once, they travel with the model."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.recipes.recipe import Recipe

Arrays = Mapping[str, Tensor]  # by path
ARRAYS = (".npy", ".npz")  # how the paths of arrays end
TRANSITIONS, NEAREST = "transitions", "nearest"  # the process that reads files, and its kind that has an embedding


def named(table: Mapping[str, Any]) -> dict[str, str]:
    """The paths of the arrays that a [process] table names, by its fields."""
    if table.get("name") != TRANSITIONS:
        return {}
    kind, embedding = str(table.get("kind", "")), str(table.get("embedding", ""))
    matrices = {"kind": kind} if kind.endswith(ARRAYS) else {}
    return {**matrices, **({"embedding": embedding} if embedding and kind == NEAREST else {})}


def with_arrays(recipe: Recipe) -> Recipe:
    """The recipe with what its files hold, so that they are read once; raises Refused for one that cannot be read."""
    found = {path: array(path, f"process.{field}", recipe.arrays) for field, path in named(recipe["process"]).items()}
    return replace(recipe, arrays=found)


def array(path: str, field: str, arrays: Arrays) -> Tensor:
    """The array of a .npy, or the first of a .npz, in float64, unless it is known; raises Refused, naming the field, if
    there is none.
    """
    if path in arrays:
        return arrays[path]
    try:
        found: Any = np.load(path, allow_pickle=False)
        numbers = np.asarray(found[found.files[0]] if path.endswith(".npz") else found, np.float64)
    except (OSError, ValueError, IndexError, EOFError) as error:
        raise Refused(f"{field} = {path!r} is no array that can be read: {error}") from None
    return torch.from_numpy(numbers)
