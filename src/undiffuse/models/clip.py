"""A pair of encoders that bring items and texts together, as CLIP: what is alike, and what guides towards a text."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.image_text_pair import ImageTextPair
from undiffuse.core.item_encoder import ItemEncoder
from undiffuse.core.item_predictor import ItemPredictor
from undiffuse.core.network import Network
from undiffuse.core.random import Random
from undiffuse.core.single_precision import in_float32
from undiffuse.core.text_encoder import TextEncoder
from undiffuse.evaluation.record import EVALUATION, written
from undiffuse.progress import progress_bar
from undiffuse.recipes import build
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling import items
from undiffuse.sampling.evaluation_request import Evaluated, EvaluationRequest
from undiffuse.sampling.plan import batches
from undiffuse.sampling.run import Run
from undiffuse.sampling.sized import sized
from undiffuse.sampling.stored_plan import digest

if TYPE_CHECKING:
    from undiffuse.data.dataset import Dataset

TABLE = "text_network"
COUNT = 1000  # items that an evaluation reads at most
FORM = "text"


@dataclass(frozen=True, eq=False, repr=False)
class CLIPRun(Run, ItemEncoder, TextEncoder):
    """A trained pair of encoders with its codec. Fields: see `Run`; the one condition is the text of an item.

    Source: arXiv:2103.00020.
    """

    tables: ClassVar[Mapping[str, bool]] = {
        **dict.fromkeys(("data", "codec", "schedule", "network", TABLE, "parameterization", "objective"), True),
        **dict.fromkeys(("conditions", "train"), True),
        **dict.fromkeys(("process", "optimiser", "init"), False),
    }
    reads: ClassVar[str] = "label"
    predicts: ClassVar[str] = "pair"
    what: ClassVar[str] = "a pair of encoders of items and texts"
    use: ClassVar[str] = (
        "it guides a model, by `undiffuse sample MODEL --classifier {run}`, conditions of kind prompt and embedding "
        'name it, it tells how alike items and texts are, by `undiffuse.load("{path}").similarity(x, texts)`, and '
        "`undiffuse evaluate` measures it"
    )
    guides: ClassVar[bool] = True
    rounds: ClassVar[bool] = False  # guidance takes its gradients
    writes: ClassVar[tuple[str, ...]] = (EVALUATION,)

    @classmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
        build.check_denoising(recipe, {})
        if len(conditions) != 1 or next(iter(conditions.values())).form != FORM:
            given = ", ".join(f"{name} ({each.kind})" for name, each in conditions.items()) or "none"
            raise Refused(
                "a pair of encoders reads items and one text of each: write one table [conditions.NAME] with kind = "
                f'"text", not {given}'
            )
        ((name, condition),) = conditions.items()
        if condition.drop:
            raise Refused(f"a pair of encoders needs every text: conditions.{name}.drop must be 0")
        table = recipe[TABLE]
        mine: type[Network] = registry.get("networks", str(table.get("name")))
        if mine.predicts != FORM:
            able = [each for each in registry.names("networks") if registry.get("networks", each).predicts == FORM]
            raise Refused(f"{TABLE} {table.get('name')!r} reads no texts; networks that do are: {', '.join(able)}")
        registry.check(mine, {key: value for key, value in table.items() if key != "name"}, owner=TABLE)

    @classmethod
    def build(cls, about: Description) -> nn.Module:
        (condition,) = about.conditions.values()
        with in_float32():
            texts = about.recipe.module(TABLE, shape=condition.shape)
            items = ItemPredictor(*build.reading(about, texts.width))
            return ImageTextPair(items, texts, texts.width, texts.width)

    @property
    def reads_noise(self) -> bool:
        trained: Any = self.recipe.component("objective")
        return trained.noisy

    @property
    def text(self) -> ConditionKind:
        """The kind of the text that it reads."""
        return next(iter(self.conditions.values()))

    @property
    def digest(self) -> str:
        return digest(self.module)

    @torch.no_grad()
    def encode_image(self, x: np.ndarray | Tensor) -> Tensor:
        """Unit vectors (n, width) of items x (n, *data_shape) in the data's own units; pictures of other sizes are made
        small by area, and large linearly. Raises Refused for numbers that the run's data do not have.
        """
        z = self.codec.encode(sized(items.several(self.codec, x, "x"), self.data_shape, "the pair of encoders"))
        bar = progress_bar(z.split(batches(self.shape)), desc="reading items", unit="batch", delay=2, leave=False)
        return torch.cat([self.module.embed_items(part.to(self.device)).cpu() for part in bar])

    @torch.no_grad()
    def encode_text(self, texts: str | Sequence[str]) -> Tensor:
        """Unit vectors (n, width) of texts."""
        words = np.array([texts] if isinstance(texts, str) else list(texts))
        if not (words.ndim == 1 and words.dtype.kind == "U" and len(words)):
            raise Refused("encode_text takes a text or a list of texts")
        return self._read(self.module.embed_texts, words)

    @property
    def width(self) -> int:
        return self.module.texts.width

    @property
    def space(self) -> str:
        return self.digest

    @property
    def embedded_shape(self) -> tuple[int, int]:
        return self.text.shape[0] + 1, max(self.width, self.module.texts.inside)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        return self._read(self.module.embed_tokens, np.array(texts))

    def _read(self, how: Callable[[Tensor], Tensor], words: np.ndarray) -> Tensor:
        """What is made of texts, some at a time, on the CPU."""
        values = self.text.encode(words)
        return torch.cat([how(values[rows].to(self.device)).cpu() for rows in torch.arange(len(words)).split(256)])

    def similarity(self, x: np.ndarray | Tensor, texts: str | Sequence[str]) -> Tensor:
        """The cosines between items x (n, *data_shape) and texts: (n, texts)."""
        return self.encode_image(x) @ self.encode_text(texts).mT

    def attempt(self) -> None:
        noise = self.module.process.prior((1, *self.shape)).sample(Random(0))
        self.module.embed_items(noise.to(self.device), 1.0)

    def evaluate(self, asked: EvaluationRequest) -> Evaluated:
        from undiffuse.evaluation import sources
        from undiffuse.evaluation.retrieval import Retrieval, judged

        real, started = sources.against(self, asked.against), time.perf_counter()
        (name,) = self.conditions
        for part in (real.train, real.held_out):
            if name not in part.conditions:
                raise Refused(f"{part.name} has no {name!r}, which the pair of encoders reads")
        (unseen, told), (seen, told_seen) = (
            self._score(part.some(COUNT), name) for part in (real.held_out, real.train)
        )
        shares = {
            way: {case: (share, seen[way].get(case, share)) for case, share in cases.items()}
            for way, cases in unseen.items()
        }
        zero_shot = None if told is None or told_seen is None else (told, told_seen)
        count = min(COUNT, len(real.held_out))
        metrics = judged(unseen, seen, zero_shot, count, asked.request.seed)
        about = written(self, asked, real, metrics, count, started)
        return Retrieval(about, shares, zero_shot, len(real.held_out.classes))

    def _score(self, data: "Dataset", name: str) -> tuple[dict[str, dict[tuple[int, int], float]], float | None]:
        """How often items and texts of these find one another, and how often the name of the class is the nearest."""
        from undiffuse.evaluation.retrieval import both_ways

        items, captions = self.encode_image(np.asarray(data.x)), np.asarray(data.conditions[name])
        found = both_ways(items, self.encode_text(captions.tolist()), captions)
        if data.labels is None or len(data.classes) < 2:
            return found, None
        told = (items @ self.encode_text(list(data.classes)).mT).argmax(1)
        return found, float((told.numpy() == np.asarray(data.labels)).mean())

    def about(self) -> dict[str, str]:
        ((name, condition),) = self.conditions.items()
        items = "clean and noisy items" if self.reads_noise else "clean items"
        return {"brings together": f"{items} and {name}: {condition.summary()}"}
