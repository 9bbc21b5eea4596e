"""What the kinds of run have in common that a condition names, and that are read from a folder."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.single_precision import in_float32
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.evaluation_request import EvaluationRequest
from undiffuse.sampling.run import Run
from undiffuse.sampling.stored_plan import digest


class EncoderKind(Run, ABC):
    """A frozen encoder, whose embeddings a network reads. network: the class of what it holds."""

    tables: ClassVar[Mapping[str, bool]] = {"codec": True, "encoder": True}
    made: ClassVar[str] = "encoder"
    reads: ClassVar[str] = "embeddings"
    rounds: ClassVar[bool] = False
    network: ClassVar[type[nn.Module]]

    @classmethod
    @abstractmethod
    def known(cls, about: Description) -> dict[str, Any]:
        """The fields of its network that its codec and its shape decide."""

    @classmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
        raise Refused(f"{cls.what} is read from a folder, by `undiffuse import`, and not trained here")

    @classmethod
    def build(cls, about: Description) -> nn.Module:
        own = registry.check(cls.network, about.recipe["encoder"], owner="encoder")
        with in_float32():
            return cls.network(**{**own, **cls.known(about)})

    @property
    def digest(self) -> str:
        """A text that differs where any weight does."""
        return digest(self.module)

    def evaluate(self, asked: EvaluationRequest) -> Any:
        raise Refused(f"{self.what} is judged by the pictures of a model that reads it: evaluate that run")
