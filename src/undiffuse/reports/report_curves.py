"""The curves of a run's report: the loss of training, the error at each noise level, and what the bound pays where."""

from html import escape

from undiffuse.evaluation import nll
from undiffuse.evaluation.evaluate import RunEvaluation
from undiffuse.evaluation.record import Curve
from undiffuse.reports import charts, page
from undiffuse.reports.charts import COLOURS, Line, smooth


def losses(curves: dict[str, Curve]) -> str:
    """The loss of training, and of held-out items where it was measured; nothing without any."""
    if "loss" not in curves:
        return ""
    (steps, loss), validation = curves["loss"], curves.get("validation_loss")
    lines = [
        Line("", steps, loss, COLOURS[0], faint=True),
        Line("training", steps, smooth(loss, len(loss) // 25), COLOURS[0]),
    ]
    if validation:
        lines.append(Line("held out", *validation, COLOURS[1], dots=len(validation[0]) < 30))
    caption = (
        "Held-out items are measured with the averaged weights, which sampling uses. "
        "Most of the loss is noise that nobody can predict: its floor is not 0."
    )
    return page.drawing(charts.chart(lines, "step", "loss", log=min(loss) > 0), caption)


def noise(evaluation: RunEvaluation) -> str:
    """The error of the guess over log-SNR, of training and held-out items, beside a simple guess."""
    noise = evaluation.noise
    lines = [
        *([Line(noise.simple, noise.log_snr, noise.plain, COLOURS[2], dashed=True)] if noise.plain else []),
        Line("training items", noise.log_snr, noise.train, COLOURS[0]),
        Line("held out", noise.log_snr, noise.held_out, COLOURS[1]),
    ]
    caption = (
        "Left is pure noise, right is clean data. "
        "Where training items lie far below held-out ones, the model has learnt them by heart."
    )
    return page.drawing(charts.chart(lines, "log-SNR", noise.what, log=True), caption)


def likelihood(evaluation: RunEvaluation) -> list[str]:
    """The negative log-likelihood and the terms of its bound, where they were asked for."""
    scores = evaluation.scores
    if scores is None or scores.terms is None:
        return []
    levels, terms = nll.curve(scores.terms, evaluation.model.denoiser.process.schedule)
    said = "".join(f"<p>{escape(line)}</p>" for line in nll.lines(evaluation.about["likelihood"]))
    caption = "What the bound pays between two noise levels. Left is pure noise, right is clean data."
    drawn = charts.chart([Line("bound", levels, terms)], "log-SNR", "bits per dimension", log=min(terms) > 0)
    return [page.section("How likely held-out data are", said + page.drawing(drawn, caption))]
