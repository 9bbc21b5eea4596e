"""Every registered component of a kind, for laws that run on each one, and so on each new one."""

from functools import cache
from itertools import product
from typing import Any

import torch
from tiny_models import MODELS
from torch import Tensor, nn

from undiffuse.core import registry
from undiffuse.core.errors import Refused

# What a component that cannot be made from nothing is made of (or would take long with), and settings besides these.
NEEDED: dict[str, dict[str, Any]] = {
    "table": {"betas": (0.05, 0.1, 0.2, 0.4)},
    "mutual_information": {"steps": 30},  # a bisection for each step
    "listed": {"times": (1.0, 0.5, 0.0)},
    "annealed_langevin": {"updates": 12, "step_size": 1.5e-4},
    "jump": {"fresh": 1.0},  # others need a flow map
    "mean_flow": {"derivative": "difference"},  # a pretended device has no forward mode
    "continuous_consistency": {"derivative": "difference"},
    "alignment": {"teacher": MODELS["plain"][0]()},
    "progressive": {"teacher": MODELS["plain"][0]()},
    "distribution_matching": {"teacher": MODELS["plain"][0]()},
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
        *({"name": "unipc", "order": n, "variant": v} for n, v in ((1, "bh1"), (1, "bh2"), (2, "bh1"), (3, "bh2"))),
        {"name": "singlestep", "order": 3},
        *({"name": "deis", "order": n, "variable": v} for n, v in ((1, "t"), (2, "t"), (3, "rho"), (3, "log_rho"))),
        *({"name": "sa", "order": n, "corrector": c, "tau": 0.0} for n, c in ((1, 0), (2, 1), (2, 2), (3, 0), (3, 4))),
        {"name": "sa", "order": 3, "corrector": 3, "tau": 0.5},
        *({"name": "adams", "order": n, "corrector": c} for n, c in ((1, 0), (2, 0), (3, 3))),
        {"name": "corrector", "predictor": "ancestral", "corrections": 2},
    ],
    "networks": [
        {"name": "dit", "depth": 5, "heads": 2, "conditioning": way, "positions": "rotary", "qk_norm": True, **more}
        for way in ("in_context", "cross_attention")
        for more in ({"norm": "rms", "activation": "swiglu", "long_skips": True, "drop_tokens": 0.5},)
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


def settled(components: tuple[Any, ...]) -> tuple[Any, ...]:
    """Of those that differ in order alone, the highest: it takes the lower ones in its first steps."""
    best: dict[Any, Any] = {}
    for component in components:
        fields = {name: getattr(component, name) for name in registry.fields(type(component))}
        kept = type(component), bool(component.convergence_order), *(v for v in fields.values() if isinstance(v, str))
        rank = [fields[name] for name in ("order", "corrector") if isinstance(fields.get(name), int)]
        if kept not in best or rank > best[kept][0]:
            best[kept] = rank, component
    return tuple(component for _, component in best.values())


GIVEN: dict[str, Any] = {
    "channels": 2, "shape": (2, 4, 4), "size": 4, "features": 2, "dimensions": 2, "classes": 3, "noise_levels": 10,
    "latents": 2,
}  # fmt: skip
SMALL: dict[str, Any] = {"width": 8, "depth": 2, "embedding": 8, "multipliers": (1,), "attention": (), "blocks": 1}
TOKENS: dict[str, Any] = {"vocabulary": 5, "shape": (6,), "length": 6, "channels": 1, "size": 6}


TIMES = torch.tensor([3.0, 5.0], dtype=torch.float32)


def networks(name: str) -> list[tuple[nn.Module, tuple[Tensor, ...]]]:
    """A small registered network for each of these inputs that it takes, beside what it is called with."""
    component: Any = registry.get("networks", name)
    fields, times = registry.fields(component), (TIMES,) if component.predicts in ("data", "label") else ()
    inputs = [
        (GIVEN, torch.ones(2, 2, 4, 4, dtype=torch.float32)),
        (GIVEN | {"shape": (2,), "dimensions": 0}, torch.ones(2, 2, dtype=torch.float32)),
        (TOKENS, torch.ones(2, 6, dtype=torch.int64)),
        (TOKENS | {"shape": (1, 4, 4), "size": 4, "dimensions": 2}, torch.ones(2, 1, 4, 4, dtype=torch.int64)),
        (TOKENS | {"shape": (3,), "size": 3, "vocabularies": (4, 4)}, torch.ones(2, 3, dtype=torch.float32)),
        (
            TOKENS | {"channels": 4, "shape": (4, 6), "features": 4, "dimensions": 1},
            torch.ones(2, 4, 6, dtype=torch.float32),
        ),
    ]
    found: list[tuple[nn.Module, tuple[Tensor, ...]]] = []
    tables = [{"name": name}, *(table for table in MORE["networks"] if table["name"] == name)]
    for table, (given, x) in product(tables, inputs):
        sizes = {k: value for k, value in SMALL.items() if k in fields and type(fields[k].default) is type(value)}
        try:
            network = registry.build("networks", {**sizes, **table}, **given).eval()
            network(x, *times)
        except (Refused, RuntimeError, TypeError, ValueError, IndexError):
            continue  # it takes something else
        found.append((network, (x, *times)))
    return found
