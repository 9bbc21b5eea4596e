"""What each metric is called, what it says, and how its numbers are written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Word:
    """A metric for people: its title, what it measures, and whether its numbers are shares, written in per cent."""

    title: str
    says: str
    share: bool = False


WORDS = {
    "agreement": Word(
        "Class agreement", "samples that a classifier, trained on real data, reads as the class asked for", share=True
    ),
    "frechet": Word(
        "Fréchet distance",
        "how far the samples' mean and covariance are from real data's, on principal components (not FID)",
    ),
    "histogram": Word(
        "Class histogram", "share of samples that would have to change class for every class to get its due", share=True
    ),
    "kernel": Word(
        "Kernel distance",
        "the same question without assuming normality; 0 on average where samples and data have one law",
    ),
    "memorisation": Word(
        "Memorisation", "samples nearer to a training item than 99 % of held-out items are to theirs", share=True
    ),
    "precision": Word("Precision", "samples that lie where real data lie", share=True),
    "recall": Word("Recall", "real data that lie where samples lie", share=True),
    "sliced_wasserstein": Word(
        "Sliced Wasserstein", "how far points have to travel to become the data, in standard deviations"
    ),
}
FLOOR = "The floor is the same metric between two real parts, at the same counts: what a perfect model would reach."


def word(name: str) -> Word:
    """The metric's words; a metric that is new here goes by its name."""
    return WORDS.get(name, Word(name.replace("_", " ").capitalize(), ""))


def number(name: str, value: float | None) -> str:
    """A value of the metric: a share in per cent, any other number with three digits."""
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if word(name).share else f"{value:.3g}"


def ratio(name: str, verdict: Mapping[str, Any]) -> str:
    """`1.08 x`: how many times its floor a distance is; nothing for shares, which are compared by eye."""
    return "" if word(name).share or verdict.get("ratio") is None else f"{verdict['ratio']:.2f} x"


def line(name: str, verdict: Mapping[str, Any]) -> str:
    """`1.52, floor 1.41 (1.08 x), 360 items a side`."""
    beside = f" ({ratio(name, verdict)})" if ratio(name, verdict) else ""
    value, floor = number(name, verdict["value"]), number(name, verdict["floor"])
    return f"{value}, floor {floor}{beside}, {verdict['count']:,} items a side"


def grade(name: str, verdict: Mapping[str, Any]) -> str:
    """`good`, `fair` or `poor`, or nothing where that cannot be said.

    A share may be 3 points worse than its floor to be good, 10 to be fair; a distance 1.5 times and 3 times its floor.
    """
    worse = verdict["value"] - verdict["floor"]
    if word(name).share:
        worse, good, fair = worse if verdict["better"] == "lower" else -worse, 0.03, 0.10
    elif verdict["ratio"] is None:
        return ""
    else:
        worse, good, fair = verdict["ratio"], 1.5, 3.0
    return "good" if worse <= good else "fair" if worse <= fair else "poor"
