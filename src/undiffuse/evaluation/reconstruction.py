"""The evaluation of autoencoders: reconstructions, latents, and samples from the prior."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.distribution.normal import Normal
from undiffuse.evaluation import latents, nll, principal_components, sources, wording
from undiffuse.evaluation.equivariance import equivariance
from undiffuse.evaluation.evaluate import COUNT, describe, refuse_few, sampling
from undiffuse.evaluation.judge import NLL, Judge, Judged
from undiffuse.evaluation.latents import CodebookUse, LatentStatistics
from undiffuse.evaluation.metrics.judge import Verdicts
from undiffuse.evaluation.metrics.metric import NO_FLOOR, verdict
from undiffuse.evaluation.rate_distortion import SHARES, RateDistortion, rate_distortion, standard
from undiffuse.evaluation.scores import Scores
from undiffuse.evaluation.similarity import WINDOW, psnr, ssim
from undiffuse.evaluation.sources import Real
from undiffuse.sampling.evaluation_request import EvaluationRequest
from undiffuse.sampling.plan import batches
from undiffuse.sampling.samples import Samples

CURVE = 200  # items of the curve of rate and distortion, and of the changes that latents should follow


@dataclass(frozen=True)
class Reconstructed:
    """What came out of the evaluation of an autoencoder.

    x, made, linear: held-out items, their reconstructions from the mode of q(z | x), and those from as many principal
    components. changes: see `equivariance`. curve: of an autoencoder with a prior. drawn: samples from it. scores: of
    one whose decoder is normalised. about: what evaluation.json says besides.
    """

    model: Any
    real: Real
    x: np.ndarray
    made: np.ndarray
    linear: np.ndarray
    posterior: Normal
    verdicts: Verdicts
    statistics: LatentStatistics
    codebook: CodebookUse | None
    curve: RateDistortion | None
    changes: dict[str, float]
    scores: Scores | None
    drawn: Samples | None
    warnings: list[str]
    about: dict[str, Any]

    def content(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        parts = {
            "codebook": self.codebook and self.codebook.content(),
            "rate_distortion": self.curve and self.curve.content(),
            "equivariance": self.changes,
            "likelihood": self.scores and self.scores.summary(),
        }
        found = {name: part for name, part in parts.items() if part}
        latent = self.statistics.content()
        return {**self.about, "latents": latent, **found, "warnings": self.warnings, "metrics": self.verdicts}

    def lines(self) -> Iterator[str]:
        """The latents, the rate and the likelihood in words."""
        known, numbers = self.statistics, int(np.prod(self.x.shape[1:]))
        sides = " x ".join(map(str, known.shape))
        yield (
            f"latents of {sides}: mean {_range(known.mean)} and standard deviation {_range(known.std)} of a channel, "
            f"{known.active:,} of {known.units:,} numbers active"
        )
        if known.bits is not None:
            yield f"rate: {known.bits:.1f} bits an item, {known.bits / numbers:.4f} a number of it"
        if self.codebook is not None:
            use = self.codebook
            yield (
                f"codebook: {use.used:,} of {use.vocabulary:,} entries used, perplexity {use.perplexity:.1f}; "
                f"rate: {use.bits:.1f} bits an item, {use.bits / numbers:.4f} a number of it"
            )
        if self.changes:
            said = ", ".join(f"{name} {value:.2f}" for name, value in self.changes.items())
            yield f"error where latents are changed as the image is, times that without: {said}"
        if self.scores is not None:
            yield from nll.lines(self.scores.summary())


def judge_reconstruction(
    run: Any, prior: Normal | None, asked: EvaluationRequest, real: Real | None = None
) -> Reconstructed:
    """Judge an autoencoder on what it held out, or on other data that are new to it.

    run: one of the kind `autoencoder`; prior: p(z) of its bottleneck. At most COUNT items are looked at. n samples are
    drawn from the prior where p(x | z) is a density, n = None for COUNT. real: what `asked` says to judge against,
    where that is known. Raises Refused as `evaluate_run` does.
    """
    how: Judge = asked.how or Judge()
    real, started, seed = real or sources.against(run, asked.against), time.perf_counter(), asked.request.seed
    n = COUNT if asked.request.n is None else asked.request.n
    refuse_few(run, real, asked.against, n)
    held_out = real.held_out.some(COUNT)
    x = np.asarray(held_out.x)
    width = span(run.codec, x)
    with asked.bar("reconstructing", "item") as advance:
        posterior = encoded(run, x, advance)
    made = run.decode(posterior.mean).numpy()
    linear = principal_components.fit(np.asarray(real.train.some(COUNT).x), tuple(posterior.mean.shape[1:]), seed)(x)
    verdicts = _alike(x, made, linear, width, seed)
    with asked.bar("judging reconstructions", "metric") as advance:
        judged = replace(how, metrics=("frechet",))(made, replace(real, held_out=held_out), seed, None, advance)
    verdicts["reconstruction_frechet"] = _of_the_same_items(judged.verdicts["frechet"])
    drawn, of_samples, scores, curve = None, None, None, None
    few = slice(CURVE)
    if prior is not None and not posterior.certain:
        with asked.bar("rate and distortion", "point") as advance:
            curve = rate_distortion(
                x[few], posterior.rows(few), standard(posterior.mean[:1]), run.decode, width, seed,
                report=lambda done: advance(done, len(SHARES)),
            )  # fmt: skip
    if run.draws and run.lossless_bound:
        drawn, of_samples = _drawn(run, real, how, replace(asked, request=replace(asked.request, n=n)))
        verdicts |= of_samples.verdicts if of_samples else {}
        scores = run.scores(real.held_out, seed, asked.bar)
    tokens = run.tokens(x) if run.vocabulary else None
    sided = x.ndim == 4 and posterior.mean.ndim == 4
    about = describe(
        asked.command, seed, len(x), started, of_samples or judged,
        against=asked.against or f"held-out part of {real.held_out.name}", step=run.facts.get("step"),
        **({} if drawn is None else {"sampling": sampling(drawn), "samples": len(drawn)}),
    )  # fmt: skip
    return Reconstructed(
        model=run, real=real, x=x, made=made, linear=linear, posterior=posterior, verdicts=verdicts,
        statistics=latents.statistics(posterior, prior),
        codebook=None if tokens is None else latents.codebook_use(tokens, run.vocabulary),
        curve=curve, changes=equivariance(x[few], posterior.mean[few], run.decode) if sided else {},
        scores=scores, drawn=drawn, warnings=_warnings(real, verdicts, judged, of_samples), about=about,
    )  # fmt: skip


def span(codec: Any, x: np.ndarray) -> float:
    """The width of the data's range: of 8 bit 255, else that of the codec, else what the items reach."""
    if x.dtype.itemsize == 1:
        return 255.0
    if codec.low is not None and codec.high is not None:
        return float(codec.high - codec.low) or 1.0
    return float(x.max() - x.min()) or 1.0


@torch.no_grad()
def encoded(run: Any, x: np.ndarray, advance: Any = lambda done, total: None) -> Normal:
    """q(z | x) of the items x in the data's units, on the CPU in float32, a few at a time."""
    means, variances = list[Tensor](), list[Tensor]()
    for part in torch.arange(len(x)).split(batches(x.shape[1:])):
        found = run.posterior(x[part.numpy()])
        means.append(found.mean.float().cpu())
        variances.append(torch.as_tensor(found.var, dtype=torch.float32).cpu().expand_as(means[-1]))
        advance(int(part[-1]) + 1, len(x))
    return Normal(torch.cat(means), torch.cat(variances))


def _alike(x: np.ndarray, made: np.ndarray, linear: np.ndarray, width: float, seed: int) -> Verdicts:
    """PSNR, and of images SSIM, beside those of the principal components."""
    able = {"psnr": psnr} | ({"ssim": ssim} if x.ndim == 4 and min(x.shape[2:]) >= WINDOW else {})
    found: Verdicts = {}
    for name, measure in able.items():
        each, floors = measure(x, made, width), measure(x, linear, width)
        error = float(each.std(ddof=1) / len(each) ** 0.5)
        means = (float(each.mean()), float(floors.mean()))
        found[name] = verdict(*means, better="higher", count=len(x), seed=seed, standard_error=error, span=width)
    return found


def _of_the_same_items(found: dict[str, Any]) -> dict[str, Any]:
    """The verdict without the doubt in its floor: what is made of the held-out items is no second draw of their law."""
    return {**found, "warning": ""} if found["warning"] == NO_FLOOR else found


def _drawn(run: Any, real: Real, how: Judge, asked: EvaluationRequest) -> tuple[Samples, Judged | None]:
    """Samples from the prior, and how they are judged; None where only the likelihood was asked for."""
    with asked.bar("sampling", "item") as advance:
        drawn = run.open(asked.request, progress=advance).draw()
    if how.metrics == (NLL,):
        return drawn, None
    with asked.bar("judging samples", "metric") as advance:
        return drawn, how(drawn.numpy(), real, asked.request.seed, None, advance)


def _range(values: list[float]) -> str:
    """`0.9 to 1.1` of several, one as it is."""
    return f"{min(values):.3g}" if len(values) == 1 else f"{min(values):.3g} to {max(values):.3g}"


def _warnings(real: Real, verdicts: Verdicts, *judged: Judged | None) -> list[str]:
    """Why to be careful with the numbers, each reason once."""
    reasons = [real.warning, *(why for each in judged if each for why in each.warnings)]
    by_reason: dict[str, list[str]] = {}
    for name, found in verdicts.items():
        by_reason.setdefault(found["warning"], []).append(wording.title(name, found))
    titled = [f"{', '.join(names)}: {why}" for why, names in by_reason.items() if why]
    return [*dict.fromkeys(filter(None, reasons)), *titled]
