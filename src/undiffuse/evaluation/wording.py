"""The title, the description and the number format of each metric."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Word:
    """A metric for people: its title, what it measures, and whether its numbers are shares, written in per cent.

    allowed: how much worse than its floor a good and a fair number may be; (): judged by their ratio.
    """

    title: str
    says: str
    share: bool = False
    allowed: tuple[float, float] | tuple[()] = ()

    @property
    def slack(self) -> tuple[float, float] | tuple[()]:
        """allowed; of shares 3 and 10 points."""
        return self.allowed or ((0.03, 0.10) if self.share else ())


WORDS = {
    "accuracy": Word(
        "Accuracy in noise",
        "held-out items whose class is told, on average over the noise levels; the floor is of training items",
        share=True,
    ),
    "class_accuracy": Word(
        "Accuracy", "held-out items whose likeliest class is right; the floor has the predictions be right", share=True
    ),
    "confident_accuracy": Word(
        "Accuracy where it is sure",
        "held-out items whose likeliest class is right, of those where the draws tell it from the next one",
        share=True,
    ),
    "crps": Word(
        "CRPS",
        "how far predicted distributions are from the targets, in their units; the floor has the predictions be right",
    ),
    "ece": Word(
        "Calibration error (ECE)",
        "how far the likeliest class's chance is from how often it is right; the floor has the predictions be right",
        share=True,
    ),
    "gaussian_nll": Word(
        "Gaussian NLL",
        "nats of a target under a normal law with the draws' mean and variance; the floor has the predictions be right",
    ),
    "log_loss": Word(
        "Log loss", "nats of the true class under its predicted chance; the floor has the predictions be right"
    ),
    "picp": Word(
        "In the 95 % interval (PICP)",
        "targets between the draws' 2.5 % and 97.5 % quantiles; the floor has the predictions be right",
        share=True,
    ),
    "qice": Word(
        "Quantile calibration (QICE)",
        "how unevenly targets fall between ten quantiles of the draws; the floor has the predictions be right",
        share=True,
    ),
    "rmse": Word(
        "RMSE", "how far the draws' mean is from the target, in its units; the floor has the predictions be right"
    ),
    "r2": Word(
        "R squared", "share of the numbers' variance that is told of held-out items; the floor is of training items"
    ),
    "caption_retrieval": Word(
        "Caption found among 10",
        "samples that are nearer to their own caption than to nine others; the floor is of held-out items",
        share=True,
    ),
    "clip_score": Word("CLIP score", "100 cos of samples and their captions; the floor is of held-out items"),
    "c2st": Word(
        "Two-sample test (C2ST)", "items that a classifier rightly calls real or sample; 50 % is a guess", share=True
    ),
    "dcr": Word(
        "Closest record",
        "samples nearer to a row that was trained on than to any of equally many others; 50 % is no copying",
        share=True,
    ),
    "column_pairs": Word("Column pairs", "how far the association of two columns is off, over all pairs"),
    "column_shapes": Word(
        "Column shapes", "how far the distribution of a column is off, from 0 to 1, over all columns"
    ),
    "tstr": Word(
        "Usefulness", "area under the curve on held-out rows of a classifier that learned from samples", share=True
    ),
    "columns": Word("Columns", "how far a column's values have to travel, in standard deviations, over all columns"),
    "copies": Word(
        "Copies", "texts with a run of 40 characters, or 10 words, that stands in the training text", share=True
    ),
    "coverage": Word("Coverage", "real data that have a sample nearby", share=True),
    "density": Word("Density", "how closely samples lie among real data; above 100 % they crowd", share=True),
    "energy_distance": Word(
        "Energy distance", "how much farther samples are from real points than these from each other"
    ),
    "agreement": Word(
        "Class agreement", "samples that a classifier, trained on real data, reads as the class asked for", share=True
    ),
    "forecast": Word(
        "Forecast (CRPS)",
        "how far draws of the future are from what came, in deviations of the data; the floor is what they would have "
        "if they were right",
    ),
    "imputation": Word(
        "Imputation (CRPS)", "the same of numbers that were hidden here and there; the floor is as that of forecasts"
    ),
    "imputation_of_gaps": Word("Imputation of gaps (CRPS)", "the same of gaps"),
    "frechet": Word(
        "Fréchet distance",
        "how far the samples' mean and covariance are from real data's; only with the features inception is it FID",
    ),
    "frame_frechet": Word(
        "Fréchet distance, frames", "how far single frames of videos are from real ones, whatever they do next"
    ),
    "frame_change": Word(
        "frame to frame",
        "how far the changes from frame to frame are from those of real videos: flicker and standstill",
    ),
    "frechet_infinity": Word(
        "Fréchet, infinite samples", "the same without the bias of few samples; 0 on average for perfect samples"
    ),
    "histogram": Word(
        "Class histogram", "share of samples that would have to change class for every class to get its due", share=True
    ),
    "inception_score": Word("Inception score", "whether samples are clearly something, and not always the same"),
    "kernel": Word(
        "Kernel distance",
        "the same question without assuming normality; 0 on average where samples and data have one law",
    ),
    "known_ngrams": Word(
        "Known n-grams", "runs of 8 characters, or 3 words, that the training text has, too", share=True
    ),
    "known_words": Word("Known words", "words that the training text has, too", share=True),
    "memorisation": Word(
        "Memorisation", "samples nearer to a training item than 99 % of held-out items are to theirs", share=True
    ),
    "one_nna": Word(
        "1-nearest-neighbour accuracy",
        "point clouds whose nearest other one is of their own kind, sample or real; 50 % is a guess",
        share=True,
    ),
    "cloud_coverage": Word("Coverage (Chamfer)", "real point clouds that are the nearest one of a sample", share=True),
    "cloud_distance": Word(
        "Minimum matching distance (Chamfer)", "how far real point clouds are from the nearest sample"
    ),
    "pitch": Word("Pitch", "sounds whose measured pitch is that of the note asked for", share=True),
    "precision": Word("Precision", "samples that lie where real data lie", share=True),
    "recall": Word("Recall", "real data that lie where samples lie", share=True),
    "symbol_entropy": Word(
        "Entropy of the symbols", "bits a token from the text's: with less the same is said over and over"
    ),
    "psnr": Word(
        "PSNR",
        "decibels between held-out items and their reconstructions; the floor is that of as many principal components",
        allowed=(0.0, 1.0),
    ),
    "reconstruction_frechet": Word(
        "Fréchet distance, reconstructions",
        "how far reconstructions' mean and covariance are from those of the items; it may lie below its floor, "
        "that of two real parts",
    ),
    "ssim": Word(
        "SSIM",
        "how alike held-out images and their reconstructions are in small windows, 1 where equal; the floor is that of "
        "as many principal components",
        allowed=(0.0, 0.05),
    ),
    "sliced_wasserstein": Word(
        "Sliced Wasserstein", "how far points have to travel to become the data, in standard deviations"
    ),
}
FLOOR = "The floor is the same metric between two real parts, at the same counts: what a perfect model would reach."


SLOW = 5.0  # seconds, from which on it is worth a line which metric took them


def slow(seconds: Mapping[str, float]) -> str:
    """The metric that took most of a long evaluation, and how to make the next one faster; empty for a short one."""
    worst = max(seconds, key=seconds.__getitem__, default="")
    if not worst or seconds[worst] < SLOW or 2 * seconds[worst] < sum(seconds.values()):
        return ""
    return (
        f"{worst} took {seconds[worst]:.0f} of {sum(seconds.values()):.0f} s; what it found of the real data is kept "
        "for the next time unless --no-cache, and --metrics leaves metrics out"
    )


def word(name: str) -> Word:
    """The wording of a metric; a metric without one is called by its name."""
    return WORDS.get(name, Word(name.replace("_", " ").capitalize(), ""))


def title(name: str, verdict: Mapping[str, Any]) -> str:
    """The title of the metric in the features that were used: with Inception the Frechet distance is FID."""
    return verdict["detail"].get("called", {}).get(name) or word(name).title


def number(name: str, value: float | None) -> str:
    """A value of the metric: a share in per cent, any other number with three digits."""
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if word(name).share else f"{value:.3g}"


def ratio(name: str, verdict: Mapping[str, Any]) -> str:
    """`1.08 x`: how many times its floor a distance is; empty for shares."""
    return "" if word(name).slack or verdict.get("ratio") is None else f"{verdict['ratio']:.2f} x"


def worst(verdict: Mapping[str, Any], at_most: int = 5) -> list[str]:
    """`age: 0.35, floor 0.04` of the columns of a table that are farthest above their floors; else nothing."""
    columns = list(verdict["detail"].get("columns", {}).items())[:at_most]
    return [f"{name}: {found['value']:.3g}, floor {found['floor']:.3g}" for name, found in columns]


def beside(name: str, verdict: Mapping[str, Any]) -> list[str]:
    """`autoregression of order 13: 0.35` of the methods that stand beside the model; else nothing."""
    return [f"{other}: {number(name, value)}" for other, value in verdict["detail"].get("beside", {}).items()]


def line(name: str, verdict: Mapping[str, Any]) -> str:
    """`1.52, floor 1.41 (1.08 x), 360 items a side`."""
    beside = f" ({ratio(name, verdict)})" if ratio(name, verdict) else ""
    value, floor = number(name, verdict["value"]), number(name, verdict["floor"])
    return f"{value}, floor {floor}{beside}, {verdict['count']:,} items a side"


def grade(name: str, verdict: Mapping[str, Any]) -> str:
    """`good`, `fair` or `poor`, or empty where there is no grade.

    A share may be 3 points worse than its floor to be good, 10 to be fair; a distance 1.5 times and 3 times its floor.
    """
    worse = verdict["value"] - verdict["floor"]
    if slack := word(name).slack:
        worse, (good, fair) = worse if verdict["better"] == "lower" else -worse, slack
    elif verdict["ratio"] is None:
        return ""
    else:
        worse = verdict["ratio"] if verdict["better"] == "lower" else verdict["floor"] / verdict["value"]
        good, fair = 1.5, 3.0
    return "good" if worse <= good else "fair" if worse <= fair else "poor"


def seen_in(about: Mapping[str, Any], vocabulary: int) -> str:
    """` Features: pixels.` of what is looked at in features; nothing of tokens, which are read as they are."""
    return "" if vocabulary else f" Features: {features(about)}."


def features(about: Mapping[str, Any]) -> str:
    """`efficientnet_lite0 (size 96); images brought to 64 x 64 before`"""
    known = about["features"]
    size = f" (size {known['size']})" if "size" in known else ""
    before = f"; images brought to {about['resize']} x {about['resize']} before" if about["resize"] else ""
    return f"{known['features']}{size}{before}"


def coloured(name: str, verdict: Mapping[str, Any]) -> str:
    """A number in the colour of its grade, in the markup of rich."""
    return f"[{COLOURS[grade(name, verdict)]}]{number(name, verdict['value'])}[/]"


COLOURS = {"good": "green", "fair": "yellow", "poor": "red", "": "default"}
