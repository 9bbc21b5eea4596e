"""The names of the files that evaluations write into a run's folder."""

from undiffuse.evaluation.record import EVALUATION

SAMPLES, DENOISING, REPORT = "evaluation.png", "denoising.png", "report.html"
RECONSTRUCTIONS, PRIOR, MANIFOLD, TRAVERSAL = "reconstructions.png", "samples.png", "manifold.png", "traversal.png"
DENOISED = (SAMPLES, DENOISING, REPORT, EVALUATION)
DRAWN = (SAMPLES, REPORT, EVALUATION)
RECONSTRUCTED = (RECONSTRUCTIONS, PRIOR, MANIFOLD, TRAVERSAL, REPORT, EVALUATION)
