"""Likelihoods: variational bounds, the exact density by the probability-flow ODE, and the discretised decoder."""

from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.likelihood.bound import Bound
from undiffuse.likelihood.continuous import continuous
from undiffuse.likelihood.elbo import elbo
from undiffuse.likelihood.embedded import embedded
from undiffuse.likelihood.hierarchical import HierarchicalVAE, hierarchical, importance_weighted
from undiffuse.likelihood.ode import Code, Density, decode, encode, ode, round_trip

__all__ = [
    "Bound",
    "Code",
    "Decoder",
    "Density",
    "HierarchicalVAE",
    "continuous",
    "decode",
    "elbo",
    "embedded",
    "encode",
    "hierarchical",
    "importance_weighted",
    "ode",
    "round_trip",
]
