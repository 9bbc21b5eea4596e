"""Is training healthy? Plain answers, each with the numbers it rests on."""

from collections.abc import Mapping
from itertools import pairwise
from statistics import median

from undiffuse.core.heads.embeddings import misread
from undiffuse.reports.page import Card

Curve = tuple[list[int], list[float]]

FEWEST = 8  # losses, below which nothing is said
CLOSE = 4.0  # sigma_0 between two embeddings, where 1 in 44 is taken for the other
BLOWN, RISEN, LAGGING, GAINED = 2.0, 1.03, 1.05, 0.98  # ratios beyond which something is wrong
DISTANCES = ("distance_to_teacher", "distance_to_fine_steps")  # of the samples of few-step runs, in the log
START = 0.05  # of the steps so far: a first value behind it does not say how the training began


def verdicts(curves: Mapping[str, Curve], spoiled: int | None = None) -> list[Card]:
    """What is wrong with a run, or that nothing is. spoiled: the first step whose loss was not a number."""
    loss = curves.get("loss", ([], []))[1]
    if len(loss) < FEWEST and spoiled is None:
        return [Card("Too early to say", f"{len(loss)} losses", f"at least {FEWEST} lines of the log are needed")]
    learned = _diverging(loss, spoiled) or _overfitting(curves) or _stuck(curves)  # the worst: each explains the next
    if (apart := _apart(curves)) and spoiled is None:  # what losses of few-step methods say is not how good samples are
        return [apart]
    found = [card for card in (_near(curves), learned, _lagging(curves)) if card is not None]
    return found or [_healthy(curves)]


def _tenths(values: list[float]) -> list[float]:
    """The medians of ten equal parts of a curve, or of as many as it has values."""
    parts = min(10, len(values))
    edges = [round(i * len(values) / parts) for i in range(parts + 1)]
    return [median(values[a:b]) for a, b in pairwise(edges)]


def _diverging(loss: list[float], spoiled: int | None) -> Card | None:
    if spoiled is not None:
        return Card("Diverged", f"step {spoiled}", "there the loss stopped being a number", "poor")
    medians = _tenths(loss)
    low, now = min(medians), medians[-1]
    if not low > 0 or now <= BLOWN * low:
        return None
    why = f"the loss is {now:.4g} now and was {low:.4g} at its lowest: lower train.lr, or a longer train.warmup"
    return Card("Diverging", f"{now / low:.2g} x", why, "poor")


def _apart(curves: Mapping[str, Curve]) -> Card | None:
    """How far the samples of a few-step run are from where they should be."""
    name = next((name for name in DISTANCES if len(curves.get(name, ([], []))[1]) > 1), None)
    if name is None:
        return None
    values = curves[name][1]
    first, now, best = values[0], values[-1], min(values)
    label, risen = name.replace("_", " ").capitalize(), now > RISEN * best
    why = (
        f"deviations of the data: {first:.3g} at first, {best:.3g} at best; losses of few-step methods cannot be "
        "compared, and this can"
    )
    return Card(label, f"{now:.3g}", why, "good" if not risen else "fair" if now < BLOWN * best else "poor")


def _near(curves: Mapping[str, Curve]) -> Card | None:
    """Embeddings that have come together, half of them within CLOSE of another."""
    apart = curves.get("embedding_gap_median", ([], []))[1]
    if not apart or apart[-1] > CLOSE:
        return None
    read = 100 * (1 - misread(apart[-1]))
    why = (
        f"half of the tokens are so many sigma_0, or less, from the nearest other, where {read:.0f} % are read right: "
        "raise objective.cross_entropy, which keeps them apart"
    )
    return Card("The embeddings collapse", f"{apart[-1]:.2g} sigma_0", why, "poor")


def _stuck(curves: Mapping[str, Curve]) -> Card | None:
    """Nothing gained since the start: where the log has it, of held-out data at step 0, else of the first batches."""
    said, (steps, values) = "validation loss", curves.get("validation_loss", ([], []))
    if not steps or steps[0] > START * _last(curves):
        said, (steps, values) = "training loss", curves.get("loss", ([], []))
        values = [max(values[0], _tenths(values)[0]), *_tenths(values)] if values else []
    if len(values) < 2 or steps[0] > START * _last(curves) or not values[0] > 0:
        return None
    first, best = values[0], min(values[1:])
    if best < GAINED * first:
        return None
    why = f"the {said} was {first:.4g} at first and {best:.4g} at best: is train.lr too low, or the data noise?"
    return Card("Stuck", f"{100 * (1 - best / first):.1f} % gained", why, "poor")


def _last(curves: Mapping[str, Curve]) -> int:
    """The last step of any curve."""
    return max((steps[-1] for steps, _ in curves.values() if steps), default=0)


def _overfitting(curves: Mapping[str, Curve]) -> Card | None:
    steps, values = curves.get("validation_loss", ([], []))
    if len(values) < 3 or "loss" not in curves:
        return None
    lowest = min(range(len(values)), key=values.__getitem__)
    there, loss = steps[lowest], curves["loss"]
    before = [value for step, value in zip(*loss, strict=True) if step <= there] or loss[1][:1]
    after = [value for step, value in zip(*loss, strict=True) if step > there]
    if not values[lowest] > 0 or values[-1] <= RISEN * values[lowest] or not before or not after:
        return None
    then, now = median(before[-max(1, len(after)) :]), median(after[-max(1, len(after) // 2) :])
    if now >= then:
        return None
    risen = values[-1] / values[lowest] - 1
    why = (
        f"held-out data: {values[lowest]:.4g} at step {there:,}, {values[-1]:.4g} now, while the training loss fell "
        f"from {then:.4g} to {now:.4g}: more data, augmentation, dropout or fewer steps"
    )
    return Card("Overfitting", f"+{100 * risen:.1f} %", why, "poor" if risen > 0.1 else "fair")


def _lagging(curves: Mapping[str, Curve]) -> Card | None:
    averaged, raw = (curves.get(name, ([], []))[1] for name in ("validation_loss", "validation_loss_raw"))
    if not averaged or not raw or not raw[-1] > 0 or averaged[-1] <= LAGGING * raw[-1]:
        return None
    why = (
        f"held-out data: {averaged[-1]:.4g} with the averaged weights, {raw[-1]:.4g} with the raw ones: "
        "train longer, or shorten the average with `undiffuse tune RUN ema`"
    )
    return Card("The average lags", f"+{100 * (averaged[-1] / raw[-1] - 1):.1f} %", why, "fair")


def _healthy(curves: Mapping[str, Curve]) -> Card:
    values = curves.get("validation_loss", ([], []))[1]
    said = "held-out data" if len(values) > 1 else "training loss"
    values = values if len(values) > 1 else _tenths(curves["loss"][1])
    best = min(values)
    gained = f"-{100 * (1 - best / values[0]):.1f} %" if values[0] > 0 else f"{best:.4g}"
    return Card(
        "Healthy", gained, f"{said}: {values[0]:.4g} at first, {values[-1]:.4g} now, {best:.4g} at best", "good"
    )
