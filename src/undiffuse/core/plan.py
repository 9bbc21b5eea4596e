"""The default plan: which sampler and which grid to take when nobody says."""

from undiffuse.core import registry
from undiffuse.core.process import Process
from undiffuse.core.sampler import Sampler
from undiffuse.core.times import Even, Grid, Logistic


def default_sampler(process: Process) -> Sampler:
    """Adams for values, by measurement (benchmarks/accuracy.py); the reversed Markov process for everything else."""
    return registry.get("samplers", "adams" if hasattr(process, "velocity") else "ancestral")()


def default_grid(process: Process) -> Grid:
    """Logistic for values, even for everything else."""
    return Logistic() if hasattr(process, "velocity") else Even()
