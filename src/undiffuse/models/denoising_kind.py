"""What the kinds of run have in common that draw samples by a denoiser of their own."""

from abc import ABC
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np

from undiffuse.conditions.declared import summaries
from undiffuse.core import registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.jumps import WORDS
from undiffuse.core.named_parts import to
from undiffuse.core.random import Random
from undiffuse.guidance.optimal_variance import OptimalVariance
from undiffuse.models.named_runs import steered, with_runs
from undiffuse.progress import Progress
from undiffuse.recipes.description import Description
from undiffuse.reports.files import DENOISED
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.evaluation_request import Bar, Evaluated, EvaluationRequest
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.session import Session
from undiffuse.sampling.stored_plan import check_plans


class DenoisingKind(DenoisingGenerator, ABC):
    """Evaluated, shown, opened and given as any other; what it is made of, a kind says by itself."""

    writes: ClassVar[tuple[str, ...]] = DENOISED

    @classmethod
    def of(cls, module: Any, about: Description) -> Self:
        if "variance" in about.facts:
            _check_variance(module, about.facts["variance"])
        check_plans(about.facts, module)
        return super().of(module, about)

    def attempt(self) -> None:
        shape = self.denoiser.state_shape((1, *self.shape))
        self.denoiser(to(self.denoiser.process.prior(shape).sample(Random(0)), self.device), 1.0)

    def preview(self, x: np.ndarray, conditions: Mapping[str, Any], count: int) -> bytes:
        from undiffuse.reports.preview import preview

        return preview(self, x, conditions, count)

    def evaluate(self, asked: EvaluationRequest) -> Evaluated:
        from undiffuse.evaluation.evaluate import evaluate_run
        from undiffuse.reports.report import Report

        model = steered(self, asked.request.controlnet, asked.request.lora)
        return Report(evaluate_run(model, replace(asked, request=replace(with_runs(asked.request), lora={}))))

    def scores(self, data: Any, seed: int, bar: Bar) -> Any:
        from undiffuse.evaluation import nll

        return nll.evaluate(self, data, seed, bar)

    def about(self) -> dict[str, str]:
        conditions = {"conditions": "\n".join(summaries(self.conditions))} if self.conditions else {}
        jumps = {} if self.denoiser.jumps == "none" else {"jumps": WORDS[self.denoiser.jumps]}
        low, high = self.denoiser.guidance_input or (1.0, 1.0)
        weight = {"guidance": f"the weight, {low:g} to {high:g}, is an input of the network"} if low < high else {}
        return conditions | jumps | weight

    def open(self, request: SampleRequest | None = None, *, progress: Progress = False, **options: Any) -> Session:
        asked = request or SampleRequest()
        said = {name: options.get(name, getattr(asked, name)) for name in ("controlnet", "lora")}
        first = SampleRequest(**said)
        model = steered(self, first.controlnet, first.lora)
        return Session.open(model, with_runs(asked.updated(options, model.conditions)), progress)


def _check_variance(denoiser: Denoiser, said: Any) -> None:
    """Raises Refused unless this is what `OptimalVariance` takes."""
    if not isinstance(said, dict):
        raise Refused("the run is broken: its description lacks or spoils 'variance'")
    try:
        fields = registry.check(OptimalVariance, said, owner="its variance")
        OptimalVariance(**{"denoiser": denoiser, "times": (), "variances": (), **fields})
    except Refused as error:
        raise Refused(f"the run is broken: {error}") from None
