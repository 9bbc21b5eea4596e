"""Train diffusion models on your own data, sample them, steer them and measure them.

Everything here is imported when it is first used, so that `import undiffuse` and `undiffuse --help` stay instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from undiffuse import codecs, data, guidance, likelihood, networks, objectives, samplers
    from undiffuse.core import oracles, registry, scales, schedules, times
    from undiffuse.core.categorical import Categorical
    from undiffuse.core.denoiser import Classifier, Denoiser, Predictor
    from undiffuse.core.distribution import Distribution, Joint, Normal, Tokens
    from undiffuse.core.gaussian import Gaussian
    from undiffuse.core.noisy_classifier import NoisyClassifier
    from undiffuse.core.process import Process
    from undiffuse.core.product import Product
    from undiffuse.core.random import Random
    from undiffuse.core.sample import sample, trajectory
    from undiffuse.core.sampler import Sampler
    from undiffuse.core.schedule import Schedule
    from undiffuse.core.transitions import Transitions
    from undiffuse.jobs import train
    from undiffuse.model.label_model import load_classifier
    from undiffuse.model.model import Model, load
    from undiffuse.model.recipe import Recipe

__all__ = [
    "Categorical",
    "Classifier",
    "Denoiser",
    "Distribution",
    "Gaussian",
    "Joint",
    "Model",
    "NoisyClassifier",
    "Normal",
    "Predictor",
    "Process",
    "Product",
    "Random",
    "Recipe",
    "Sampler",
    "Schedule",
    "Tokens",
    "Transitions",
    "__version__",
    "codecs",
    "data",
    "guidance",
    "likelihood",
    "load",
    "load_classifier",
    "networks",
    "objectives",
    "oracles",
    "registry",
    "sample",
    "samplers",
    "scales",
    "schedules",
    "times",
    "train",
    "trajectory",
]

# name -> (module, name inside it; "" = the module itself)
_HOME = {
    "Categorical": ("core.categorical", "Categorical"),
    "Classifier": ("core.denoiser", "Classifier"),
    "Denoiser": ("core.denoiser", "Denoiser"),
    "Distribution": ("core.distribution", "Distribution"),
    "Gaussian": ("core.gaussian", "Gaussian"),
    "Joint": ("core.distribution", "Joint"),
    "Model": ("model.model", "Model"),
    "NoisyClassifier": ("core.noisy_classifier", "NoisyClassifier"),
    "Normal": ("core.distribution", "Normal"),
    "Predictor": ("core.denoiser", "Predictor"),
    "Process": ("core.process", "Process"),
    "Product": ("core.product", "Product"),
    "Random": ("core.random", "Random"),
    "Recipe": ("model.recipe", "Recipe"),
    "Sampler": ("core.sampler", "Sampler"),
    "Schedule": ("core.schedule", "Schedule"),
    "Tokens": ("core.distribution", "Tokens"),
    "Transitions": ("core.transitions", "Transitions"),
    "codecs": ("codecs", ""),
    "data": ("data", ""),
    "guidance": ("guidance", ""),
    "likelihood": ("likelihood", ""),
    "load": ("model.model", "load"),
    "load_classifier": ("model.label_model", "load_classifier"),
    "networks": ("networks", ""),
    "objectives": ("objectives", ""),
    "oracles": ("core.oracles", ""),
    "registry": ("core.registry", ""),
    "sample": ("core.sample", "sample"),
    "samplers": ("samplers", ""),
    "scales": ("core.scales", ""),
    "schedules": ("core.schedules", ""),
    "times": ("core.times", ""),
    "train": ("jobs", "train"),
    "trajectory": ("core.sample", "trajectory"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'undiffuse' has no attribute {name!r}; it has: {', '.join(__all__)}")
    module, inside = _HOME[name]
    home = import_module(f"undiffuse.{module}")
    found = getattr(home, inside) if inside else home
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
