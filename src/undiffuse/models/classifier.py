"""What a classifier's run folder holds: what tells the class of a noisy sample, the codec and the recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from undiffuse.codecs.codec import Codec
from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import devices
from undiffuse.core.noisy_classifier import NoisyClassifier
from undiffuse.models.description import Description
from undiffuse.models.run import Saved, opened
from undiffuse.recipes.recipe import Recipe


@dataclass(frozen=True, eq=False, repr=False)
class LabelModel(Saved):
    """A trained classifier of noisy samples with its codec: guides `Model.sample(..., classifier=this)`.

    Fields: see `Saved`.
    """

    classifier: NoisyClassifier
    codec: Codec
    shape: tuple[int, ...]
    recipe: Recipe
    conditions: Mapping[str, ConditionKind] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def module(self) -> nn.Module:
        return self.classifier


def load_classifier(
    path: Path | str, precision: str = "float32", device: torch.device | str | None = None
) -> LabelModel:
    """The classifier of a run folder, with the averaged weights, ready to guide.

    precision: as of `load`, but gradients want float32. Raises Refused if there is no whole classifier.
    """
    where = devices.device(device)
    module, said = opened(path, classifier=True)
    found: Any = module
    about = {name: value for name, value in vars(said).items() if name in Description.__dataclass_fields__}
    about.pop("variance")
    return LabelModel(found, **about).to(precision, where)
