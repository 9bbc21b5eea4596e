"""Train diffusion models on your own data, sample them, steer them and measure them.

Everything here is imported when it is first used, so that `import undiffuse` and `undiffuse --help` stay instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from undiffuse import (
        bottlenecks,
        codecs,
        data,
        feature_networks,
        grids,
        guidance,
        level_heads,
        likelihood,
        losses,
        networks,
        objectives,
        operators,
        optimisers,
        parameterizations,
        samplers,
        scenes,
        schedules,
        time_distributions,
    )
    from undiffuse.codecs.codec import Codec
    from undiffuse.core import oracles, registry
    from undiffuse.core.autoencoder import Autoencoder, AutoencoderNetwork
    from undiffuse.core.bottleneck import Bottleneck
    from undiffuse.core.denoiser import Denoiser, Predictor
    from undiffuse.core.distribution.distribution import Distribution
    from undiffuse.core.distribution.joint import Joint
    from undiffuse.core.distribution.normal import Normal
    from undiffuse.core.distribution.tokens import Tokens
    from undiffuse.core.errors import Refused
    from undiffuse.core.function_denoiser import FunctionDenoiser
    from undiffuse.core.grid import Grid
    from undiffuse.core.latent_space import LatentSpace
    from undiffuse.core.network import Network
    from undiffuse.core.noisy_classifier import NoisyClassifier
    from undiffuse.core.objective import Batch, Objective, Player
    from undiffuse.core.parameterization import Parameterization
    from undiffuse.core.plugins import use
    from undiffuse.core.process.categorical import Categorical
    from undiffuse.core.process.gaussian import Gaussian
    from undiffuse.core.process.process import Process
    from undiffuse.core.process.product import Product
    from undiffuse.core.process.transitions import Transitions
    from undiffuse.core.random import Random
    from undiffuse.core.reconstruction_loss import Reconstruction, ReconstructionLoss
    from undiffuse.core.sample import sample, trajectory
    from undiffuse.core.sampler import Sampler
    from undiffuse.core.schedule import Schedule
    from undiffuse.core.time_distribution import TimeDistribution
    from undiffuse.data.dataset import Dataset
    from undiffuse.data.source import Source
    from undiffuse.evaluation.features.features import Features
    from undiffuse.evaluation.metrics.metric import Metric
    from undiffuse.models.autoencoder import AutoencoderRun
    from undiffuse.models.autoregressive import AutoregressiveRun
    from undiffuse.models.chain import Chain
    from undiffuse.models.classifier import Classifier
    from undiffuse.models.clip import CLIPRun
    from undiffuse.models.diffusion import Diffusion
    from undiffuse.models.load import load
    from undiffuse.models.regressor import Regressor
    from undiffuse.models.scene import SceneRun
    from undiffuse.recipes.recipe import Recipe
    from undiffuse.recipes.settings import Train
    from undiffuse.sampling.generator import Generator
    from undiffuse.sampling.run import Run
    from undiffuse.training.distill import distill
    from undiffuse.training.loop import Training
    from undiffuse.training.start import train
    from undiffuse.tuning.times import tune_grid

__all__ = [
    "Autoencoder",
    "AutoencoderNetwork",
    "AutoencoderRun",
    "AutoregressiveRun",
    "Batch",
    "Bottleneck",
    "CLIPRun",
    "Categorical",
    "Chain",
    "Classifier",
    "Codec",
    "Dataset",
    "Denoiser",
    "Diffusion",
    "Distribution",
    "Features",
    "FunctionDenoiser",
    "Gaussian",
    "Generator",
    "Grid",
    "Joint",
    "LatentSpace",
    "Metric",
    "Network",
    "NoisyClassifier",
    "Normal",
    "Objective",
    "Parameterization",
    "Player",
    "Predictor",
    "Process",
    "Product",
    "Random",
    "Recipe",
    "Reconstruction",
    "ReconstructionLoss",
    "Refused",
    "Regressor",
    "Run",
    "Sampler",
    "SceneRun",
    "Schedule",
    "Source",
    "TimeDistribution",
    "Tokens",
    "Train",
    "Training",
    "Transitions",
    "__version__",
    "bottlenecks",
    "codecs",
    "data",
    "distill",
    "feature_networks",
    "grids",
    "guidance",
    "level_heads",
    "likelihood",
    "load",
    "losses",
    "networks",
    "objectives",
    "operators",
    "optimisers",
    "oracles",
    "parameterizations",
    "registry",
    "sample",
    "samplers",
    "scenes",
    "schedules",
    "time_distributions",
    "train",
    "trajectory",
    "tune_grid",
    "use",
]

# name -> (module, name inside it; "" = the module itself)
_HOME = {
    "Autoencoder": ("core.autoencoder", "Autoencoder"),
    "AutoencoderNetwork": ("core.autoencoder", "AutoencoderNetwork"),
    "AutoencoderRun": ("models.autoencoder", "AutoencoderRun"),
    "AutoregressiveRun": ("models.autoregressive", "AutoregressiveRun"),
    "Chain": ("models.chain", "Chain"),
    "CLIPRun": ("models.clip", "CLIPRun"),
    "Bottleneck": ("core.bottleneck", "Bottleneck"),
    "LatentSpace": ("core.latent_space", "LatentSpace"),
    "Reconstruction": ("core.reconstruction_loss", "Reconstruction"),
    "ReconstructionLoss": ("core.reconstruction_loss", "ReconstructionLoss"),
    "bottlenecks": ("bottlenecks", ""),
    "losses": ("losses", ""),
    "Batch": ("core.objective", "Batch"),
    "Categorical": ("core.process.categorical", "Categorical"),
    "Classifier": ("models.classifier", "Classifier"),
    "Codec": ("codecs.codec", "Codec"),
    "Dataset": ("data.dataset", "Dataset"),
    "Denoiser": ("core.denoiser", "Denoiser"),
    "Diffusion": ("models.diffusion", "Diffusion"),
    "Distribution": ("core.distribution.distribution", "Distribution"),
    "Features": ("evaluation.features.features", "Features"),
    "FunctionDenoiser": ("core.function_denoiser", "FunctionDenoiser"),
    "Gaussian": ("core.process.gaussian", "Gaussian"),
    "Generator": ("sampling.generator", "Generator"),
    "Grid": ("core.grid", "Grid"),
    "Joint": ("core.distribution.joint", "Joint"),
    "Metric": ("evaluation.metrics.metric", "Metric"),
    "Network": ("core.network", "Network"),
    "NoisyClassifier": ("core.noisy_classifier", "NoisyClassifier"),
    "Normal": ("core.distribution.normal", "Normal"),
    "Objective": ("core.objective", "Objective"),
    "Parameterization": ("core.parameterization", "Parameterization"),
    "Player": ("core.objective", "Player"),
    "Predictor": ("core.denoiser", "Predictor"),
    "Process": ("core.process.process", "Process"),
    "Product": ("core.process.product", "Product"),
    "Random": ("core.random", "Random"),
    "Recipe": ("recipes.recipe", "Recipe"),
    "Refused": ("core.errors", "Refused"),
    "Regressor": ("models.regressor", "Regressor"),
    "Run": ("sampling.run", "Run"),
    "Sampler": ("core.sampler", "Sampler"),
    "SceneRun": ("models.scene", "SceneRun"),
    "Schedule": ("core.schedule", "Schedule"),
    "Source": ("data.source", "Source"),
    "TimeDistribution": ("core.time_distribution", "TimeDistribution"),
    "Tokens": ("core.distribution.tokens", "Tokens"),
    "Transitions": ("core.process.transitions", "Transitions"),
    "distill": ("training.distill", "distill"),
    "load": ("models.load", "load"),
    "sample": ("core.sample", "sample"),
    "Train": ("recipes.settings", "Train"),
    "Training": ("training.loop", "Training"),
    "optimisers": ("optimisers", ""),
    "train": ("training.start", "train"),
    "trajectory": ("core.sample", "trajectory"),
    "tune_grid": ("tuning.times", "tune_grid"),
    "use": ("core.plugins", "use"),
    "codecs": ("codecs", ""),
    "data": ("data", ""),
    "feature_networks": ("feature_networks", ""),
    "grids": ("grids", ""),
    "guidance": ("guidance", ""),
    "level_heads": ("level_heads", ""),
    "likelihood": ("likelihood", ""),
    "networks": ("networks", ""),
    "objectives": ("objectives", ""),
    "operators": ("operators", ""),
    "oracles": ("core.oracles", ""),
    "parameterizations": ("parameterizations", ""),
    "registry": ("core.registry", ""),
    "samplers": ("samplers", ""),
    "scenes": ("scenes", ""),
    "schedules": ("schedules", ""),
    "time_distributions": ("time_distributions", ""),
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
