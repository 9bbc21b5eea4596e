"""Which condition of a model is the vector of the item itself, so that editing can say it."""

from undiffuse.recipes.description import Described


def embedding(model: Described) -> str | None:
    """The name of the one condition that lies in the space of a pair of encoders and is no text; None without one."""
    found = [name for name, condition in model.conditions.items() if condition.space and not condition.says]
    return found[0] if len(found) == 1 else None
