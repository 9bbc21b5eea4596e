"""The run that a training starts from: its weights, LoRA beside them, and its samples among the data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from torch import nn

from undiffuse.codecs.codec import Codec
from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core.errors import Refused
from undiffuse.core.network import inputs_of
from undiffuse.data.dataset import Dataset
from undiffuse.networks.lora import adapt, chosen, fingerprint, shape
from undiffuse.progress import LOGGER
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.starting import Init
from undiffuse.sampling.items import alike
from undiffuse.sampling.run import LORA, Run
from undiffuse.training.initial_weights import take_over
from undiffuse.training.prior import joined

SHOWN = 3  # differences in a message


@dataclass(frozen=True, eq=False)
class StartingRun:
    """The run of a recipe's table [init], as the table says to start from it; run: None where there is no such table.

    path: of its folder, for people.
    """

    init: Init
    run: Run | None = None
    path: str = ""

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        """Raises Refused for a LoRA of a run of another kind."""
        if not recipe["init"]:
            return cls(Init("none"))
        init = Init.of(recipe["init"])
        run, path = recipe.uses.run("init.run", init.run), recipe.uses.paths["init.run"]
        if init.lora is not None and run.recipe.kind != recipe.kind:
            raise Refused(
                f"init.run = {path!r} is of kind {run.recipe.kind!r}, and this recipe is of kind {recipe.kind!r}: a "
                "LoRA is of the kind of its base"
            )
        return cls(init, run, path)

    @property
    def keeps(self) -> bool:
        """Whether the network, the codec and the conditions stay as they are, since the weights are frozen."""
        return self.init.lora is not None

    def data(self, learned: Dataset, held_out: Dataset | None) -> tuple[Dataset, Dataset | None]:
        """What is learned from and what is held out, in the base's classes where it goes on as it is, and with its
        samples among what is learned from.
        """
        if self.run is None or not (self.keeps or self.init.prior):
            return learned, held_out
        learned = _in_classes(learned, self.run, self.path)
        held_out = held_out and _in_classes(held_out, self.run, self.path)
        return learned if self.init.prior is None else joined(learned, self.run, self.init.prior), held_out

    def conditions(self, found: Mapping[str, ConditionKind]) -> Mapping[str, ConditionKind]:
        """The conditions as the base knows them, where it stays as it is, hidden as often as the recipe says."""
        if self.run is None or not self.keeps:
            return found
        base = self.run.conditions
        if list(base) != list(found):
            raise Refused(
                f"a LoRA has the conditions of its base: {self.path} has {', '.join(base) or 'none'}, and this recipe "
                f"has {', '.join(found) or 'none'}"
            )
        return {name: replace(base[name], drop=condition.drop) for name, condition in found.items()}

    def codec(self, learned: Dataset) -> Codec:
        """The base's; raises Refused for data of another dtype."""
        assert self.run is not None
        alike(learned.x.dtype, self.run.codec, learned.name)
        return self.run.codec

    def refuse_shape(self, found: tuple[int, ...]) -> None:
        """Raises Refused for encoded items of another shape than the base's, where it stays as it is."""
        if self.run is not None and self.keeps and tuple(self.run.shape) != found:
            raise Refused(
                f"a LoRA has items of its base's shape: those of {self.path} are {tuple(self.run.shape)}, and these "
                f"data are {found}, encoded"
            )

    def initialise(self, module: nn.Module, classes: Sequence[str], by_class: Mapping[str, int]) -> None:
        """Take over the base's weights, all of them for a LoRA. by_class: see `take_over`."""
        assert self.run is not None
        weights, what = self.run.module.state_dict(), f"init.run = {self.path!r}"
        if self.keeps:
            _refuse_another(module, weights, what)
        beside = any(condition.beside for condition in self.run.conditions.values())
        inputs = () if beside or self.keeps else inputs_of(module)  # whose images come first is not known else
        take_over(module, weights, what, (classes, self.run.classes), by_class, inputs)

    def adapt(self, module: nn.Module, called: Iterable[str]) -> None:
        """Freeze a module, and give layers that were called A and B, where the recipe asks for a LoRA."""
        if (lora := self.init.lora) is None:
            return
        whole = sum(each.numel() for each in module.parameters())
        layers = chosen(module, lora.targets, lora.rank, called)
        adapt(module, layers, lora.rank, lora.rank if lora.alpha is None else lora.alpha)
        count = sum(each.numel() for each in module.parameters())
        LOGGER.info(
            "LoRA of rank %d of %d layers: %s numbers are trained, beside %s that are frozen",
            *(lora.rank, len(layers), f"{count:,}", f"{whole:,}"),
        )

    def facts(self) -> dict[str, Any]:
        """What a LoRA's file says of its base, in JSON's types."""
        if self.run is None or self.init.lora is None:
            return {}
        lora, weights = self.init.lora, fingerprint(self.run.module)
        alpha = float(lora.rank if lora.alpha is None else lora.alpha)
        return {LORA: {"run": self.path, "weights": weights, "rank": lora.rank, "alpha": alpha}}


def _in_classes(data: Dataset, base: Run, path: str) -> Dataset:
    """The data with labels that count the base's classes; raises Refused for a class that it does not have."""
    if data.labels is None or not base.classes:
        return data
    if others := [name for name in data.classes if name not in base.classes]:
        raise Refused(
            f"{data.name} has the class {others[0]!r}, and {path} knows {', '.join(base.classes[:12])}: without a LoRA "
            "and samples of the base (init.lora, init.prior) a run learns new classes"
        )
    places = np.array([base.classes.index(name) for name in data.classes])
    return replace(data, conditions={**data.conditions, "label": places[data.labels]}, classes=base.classes)


def _refuse_another(module: nn.Module, weights: Mapping[str, Any], what: str) -> None:
    """Raises Refused, with both shapes, unless the weights are those of all of the module."""
    own = module.state_dict()
    sides = ((n, *(shape(each[n]) if n in each else "nothing" for each in (weights, own))) for n in {**own, **weights})
    apart = [f"{name}: {theirs} there, {mine} here" for name, theirs, mine in sides if theirs != mine]
    if apart:
        more = f"; and {len(apart) - SHOWN} more" if len(apart) > SHOWN else ""
        raise Refused(
            f"{what}: a LoRA keeps the network of its base, and this recipe has another: "
            f"{'; '.join(apart[:SHOWN])}{more}"
        )
