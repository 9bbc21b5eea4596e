"""Forecasts and imputations: how far the law of a model's answers is from the numbers that were hidden."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from undiffuse.evaluation.answers import Answer
from undiffuse.evaluation.crps import crps, crps_expected, crps_normal
from undiffuse.evaluation.metrics.evidence import Evidence
from undiffuse.evaluation.metrics.metric import Metric, verdict
from undiffuse.evaluation.series_baselines import SeriesBaseline, baselines

NAMES = {"forecast": "forecast", "missing": "imputation", "segment": "imputation_of_gaps"}
ENOUGH = 20  # items


@dataclass(frozen=True)
class Forecast(Metric):
    """The mean CRPS of hidden numbers of held-out series, each channel in deviations of the training data.

    Value: of the model's draws. Floor: what they would have were the numbers drawn from the same law; a value above it
    means draws that are off or too sure, see `crps_expected`. Detail: the same of the baselines, each with its own
    normal law, and the root mean square error of means. Source: arXiv:2107.03502, sec. 6.
    """

    aliases: ClassVar[tuple[str, ...]] = ("imputation",)
    needs: ClassVar[str] = "a run with a condition of kind known, and series"

    def applies(self, evidence: Evidence) -> bool:
        """To runs that fill in series."""
        return bool(evidence.answers) and evidence.items.train.ndim == 3

    def judge(self, evidence: Evidence) -> dict[str, dict[str, Any]]:
        """A verdict for each way in which training hides numbers: `forecast`, `imputation`, `imputation_of_gaps`."""
        train = np.asarray(evidence.items.train, np.float64)
        scale = train.std((0, 2))[:, None] + 1e-12
        others, found = baselines(train / scale), {}
        for word, answer in evidence.answers.items():
            found[NAMES[word.partition(":")[0]]] = _judged(answer, scale, others, word, evidence.seed)
        return found


def _judged(answer: Answer, scale: np.ndarray, others: list[SeriesBaseline], word: str, seed: int) -> dict[str, Any]:
    hidden, observed, samples = answer.hidden, answer.observed / scale, answer.samples / scale
    each = [crps(samples[:, i], observed[i])[hidden[i]].mean() for i in range(len(hidden)) if hidden[i].any()]
    own = [crps_expected(samples[:, i])[hidden[i]].mean() for i in range(len(hidden)) if hidden[i].any()]
    beside, errors = {}, {"the model": _rms((samples.mean(0) - observed)[hidden])}
    for other in others:
        if other.tail and not word.startswith("forecast"):
            continue
        told = np.array([other.told(given / scale) for given in answer.given]).swapaxes(0, 1)
        beside[other.name] = float(crps_normal(told[0], told[1], observed)[hidden].mean())
        errors[other.name] = _rms((told[0] - observed)[hidden])
    return verdict(
        float(np.mean(each)), float(np.mean(own)), better="lower", count=len(each), seed=seed,
        warning=f"{len(each)} series are few" if len(each) < ENOUGH else "",
        standard_error=float(np.std(each) / np.sqrt(len(each))), question=word, draws=len(samples), beside=beside,
        root_mean_square_error=errors, units=scale[:, 0].tolist(),
    )  # fmt: skip


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))
