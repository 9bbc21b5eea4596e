"""How well an autoencoder gives back what went in, and how many bits its latents take."""

import math
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from undiffuse import __version__
from undiffuse.core.autoencoder import Autoencoder
from undiffuse.data.dataset import Dataset
from undiffuse.evaluation import sources
from undiffuse.evaluation.metrics.metric import verdict
from undiffuse.evaluation.record import EVALUATION
from undiffuse.sampling.run import Evaluated, EvaluationRequest
from undiffuse.storage.files import write_json

COUNT = 1000  # items that an evaluation reads at most


@dataclass(frozen=True)
class Reconstructed(Evaluated):
    """psnr, bits: means over held-out items and over training items; bits: KL(q(z given x) || p(z)), None without."""

    psnr: tuple[float, float]
    bits: tuple[float, float] | None
    about: dict[str, Any]

    def save(self, folder: Path, run: Path) -> list[str]:
        write_json(folder / EVALUATION, self.about)
        return [EVALUATION]

    def printed(self) -> Iterator[Any]:
        yield f"PSNR {self.psnr[0]:.2f} dB of held-out items, {self.psnr[1]:.2f} dB of training items"
        if self.bits is not None:
            yield f"rate {self.bits[0]:.0f} bits an item of held-out items, {self.bits[1]:.0f} of training items"
        yield from (f"[yellow]take care:[/] {warning}" for warning in self.about["warnings"])


def judge_reconstruction(run: Any, autoencoder: Autoencoder, asked: EvaluationRequest) -> Reconstructed:
    """PSNR and rate of a run's held-out items, or of other data, beside those of training items."""
    real, started = sources.against(run, asked.against), time.perf_counter()
    parts = [part.some(COUNT) for part in (real.held_out, real.train)]
    unseen, seen = ([float(value) for value in _measured(run, autoencoder, part)] for part in parts)
    count, seed = len(parts[0]), asked.request.seed
    metrics = {"psnr": verdict(unseen[0], seen[0], better="higher", count=count, seed=seed)}
    if autoencoder.bottleneck.prior is not None:
        metrics["bits"] = verdict(unseen[1], seen[1], better="lower", count=count, seed=seed)
    about = {
        "command": asked.command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "count": count,
        "seconds": round(time.perf_counter() - started, 2),
        "against": asked.against or f"held-out part of {real.held_out.name}",
        "step": run.facts.get("step"),
        "warnings": [real.warning] if real.warning else [],
        "metrics": metrics,
        "versions": {"undiffuse": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    bits = (unseen[1], seen[1]) if autoencoder.bottleneck.prior is not None else None
    return Reconstructed((unseen[0], seen[0]), bits, about)


def psnr(x: np.ndarray, made: np.ndarray, peak: float) -> np.ndarray:
    """10 log10(peak^2 / mean squared error) of each item in dB, (n,); at most 100."""
    error = ((x.astype(np.float64) - made.astype(np.float64)) ** 2).reshape(len(x), -1).mean(1)
    return 10 * np.log10(peak**2 / np.maximum(error, peak**2 * 1e-10))


@torch.no_grad()
def _measured(run: Any, autoencoder: Autoencoder, data: Dataset) -> tuple[float, float]:
    """Mean PSNR, and mean rate in bits (0 without a prior)."""
    x, prior = np.asarray(data.x), autoencoder.bottleneck.prior
    whole = x.dtype == np.uint8
    peak = 255.0 if whole else float(x.max() - x.min()) or 1.0
    quality = float(psnr(x, run.reconstruct(x).numpy(), peak).mean())
    if prior is None:
        return quality, 0.0
    rates = [run.posterior(x[i : i + 64]).kl(prior).cpu() for i in range(0, len(x), 64)]
    return quality, float(torch.cat(rates).double().mean()) / math.log(2)
