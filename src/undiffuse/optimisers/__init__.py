"""Optimisers, one a file; `by_name` also gives every other one of torch.optim."""

from undiffuse.core.registry import face

__getattr__, __dir__ = face("optimisers")
