"""The jobs of a user, wired together: recipe, data, codec, network, training."""

from undiffuse.jobs.continued import FREE
from undiffuse.jobs.start import data, train

__all__ = ["FREE", "data", "train"]
