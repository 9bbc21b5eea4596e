"""Every registered component of a kind, for laws that run on each one, and so on each new one."""

from functools import cache
from typing import Any

from undiffuse.core import registry

# What a component that cannot be made from nothing is made of (or would take long with), and settings besides these.
NEEDED: dict[str, dict[str, Any]] = {
    "table": {"betas": (0.05, 0.1, 0.2, 0.4)},
    "mutual_information": {"steps": 30},  # a bisection for each step
    "listed": {"times": (1.0, 0.5, 0.0)},
    "annealed_langevin": {"updates": 12, "step_size": 1.5e-4},
}
MORE: dict[str, list[dict[str, Any]]] = {
    "schedules": [
        {"name": "table", "betas": (0.05, 0.1, 0.2, 0.4), "zero_terminal_snr": True},
        {"name": "table", "alpha_bars": (0.9, 0.3, 0.01)},
        {"name": "linear_beta", "steps": 50, "beta_start": 0.002, "beta_end": 0.3},
        {"name": "scaled_linear_beta", "beta_start": 0.0015, "beta_end": 0.0195},
        {"name": "cosine", "steps": 20},
        {"name": "edm", "sigma_max": 3.0},
        {"name": "log_linear", "floor": 0.0, "steps": 20},
        {"name": "token_cosine", "power": 2.0},
        {"name": "token_cosine", "steps": 20},
        {"name": "mutual_information", "steps": 20, "frequencies": (0.6, 0.3, 0.1), "noise": (0.0, 0.0, 0.0, 1.0)},
    ],
    "parameterizations": [{"name": "edm", "data_std": 1.5}, {"name": "consistency", "sigma_min": 0.01}],
    "samplers": [
        {"name": "ancestral", "variance": "beta"},
        {"name": "ancestral", "variance": "exact"},
        {"name": "ddim", "eta": 0.5},
        {"name": "ddim", "eta": 1.0},
        {"name": "euler", "churn": 0.02},
        {"name": "heun", "churn": 0.1},
        {"name": "multistep", "order": 1},
        {"name": "multistep", "order": 3},
        {"name": "multistep", "eta": 1.0},
        {"name": "multistep", "order": 3, "eta": 0.5},
        {"name": "corrector", "predictor": "ancestral", "corrections": 2},
    ],
}


@cache
def every(kind: str, interface: type, family: str = "") -> tuple[Any, ...]:
    """Every registered component of a kind that has this interface, with its defaults and with the settings above;
    samplers: those of a family.
    """
    tables = [{"name": name, **NEEDED.get(name, {})} for name in registry.names(kind)] + MORE.get(kind, [])
    built = [registry.build(kind, t) for t in tables if issubclass(registry.get(kind, t["name"]), interface)]
    return tuple(component for component in built if not family or family in component.takes())
