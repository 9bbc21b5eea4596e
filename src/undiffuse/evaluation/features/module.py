"""Features of the user's own network: any importable callable that maps images to vectors."""

import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused, near
from undiffuse.evaluation.features.features import Features
from undiffuse.evaluation.features.images import refuse_unless_images, span, unit, walk


@dataclass(frozen=True, eq=False)
class Module(Features):
    """Features of your own network, a torch module or a function, named by its import path.

    path: `package.file:attribute`; it maps float32 images in [0, 1], (count, channels, height, width), to vectors
    (count, dimensions).
    It is imported as Python would from the current folder, so it runs: name only code that you trust. A class is called
    without arguments first. Images keep their size and their channels.
    """

    path: str = ""
    fitted: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        file, _, attribute = self.path.partition(":")
        if not all(part.isidentifier() for part in (*file.split("."), *attribute.split("."))):
            raise Refused(
                f"features module need an import path, file:attribute or package.file:attribute, not {self.path!r}; "
                "for example --features module:my_features:network"
            )

    @property
    def about(self) -> dict[str, Any]:
        """Name, version, the import path and a digest of the file's text and of the weights."""
        return {"features": "module", "version": 1, "path": self.path, "digest": _digest(self.path)}

    def fit(self, x: np.ndarray) -> Self:
        """A copy that knows the values of black and white, tried on two images."""
        refuse_unless_images(x, "module", channels=())
        fitted = replace(self, fitted={"span": span(x)})
        fitted(x[:2])
        return fitted

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The vectors that the module returns for the images."""
        network = _load(self.path)
        return walk(x, lambda batch: self._see(network, unit(batch, self.fitted["span"])), "module")

    def _see(self, network: Callable[[Tensor], Tensor], shown: Tensor) -> Tensor:
        try:
            found = network(shown)
        except Exception as error:
            raise Refused(
                f"{self.path} cannot take images of shape {tuple(shown.shape)}: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(shown):
            gave = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise Refused(f"{self.path} made {gave} of {len(shown)} images; it has to make (count, dimensions)")
        return found


@cache
def _load(path: str) -> Callable[[Tensor], Tensor]:
    file, _, attribute = path.partition(":")
    here = os.getcwd()  # where `python -m` would look, too
    sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(file)
    except Exception as error:
        raise Refused(f"cannot import {file}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(here)
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise Refused(f"{file} has no {attribute!r}{near(name, [n for n in dir(found) if n[0] != '_'])}")
        found = getattr(found, name)
    found = found() if inspect.isclass(found) else found
    if not callable(found):
        raise Refused(f"{path} is a {type(found).__name__}; features need a module or a function")
    if isinstance(found, nn.Module):
        found.eval()
    return cast("Callable[[Tensor], Tensor]", found)


def _digest(path: str) -> str:
    """The digest of the source text and of the weights."""
    found = _load(path)
    digest = hashlib.blake2b(digest_size=8)
    file = inspect.getsourcefile(importlib.import_module(path.partition(":")[0]))
    with open(file or os.devnull, "rb") as text:
        digest.update(text.read())
    for name, tensor in found.state_dict().items() if isinstance(found, nn.Module) else ():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
