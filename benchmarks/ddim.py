"""Seconds an image of a run by its plan of few calls, beside 50 DDIM steps of diffusers on the same weights.

    python benchmarks/ddim.py runs/mnist-teacher [--steps 12] [--ddim 50] [-n 64] [--pairs 3]

The run is one of EDM's parameterization with a U-Net: its weights are those of a UNet2DModel here, and diffusers'
EDMEulerScheduler, whose step is DDIM's where alpha = 1, draws the same classes. Both in float32, runs
alternate; medians of the pairs. How good either's samples are is told by
`python benchmarks/few_steps.py RUN:12 --ddim 50`.
"""

import argparse
import importlib
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import undiffuse
from undiffuse.networks.blocks import group_count
from undiffuse.networks.diffusers_format import config_of, weights_to
from undiffuse.networks.unet import UNet

diffusers: Any = importlib.import_module("diffusers")


def twin(network: UNet, size: Any) -> Any:
    """The network as a UNet2DModel, told its time already scaled, with the groups of each norm."""
    scale, network.time_scale = network.time_scale, 1.0
    peer = diffusers.UNet2DModel.from_config(config_of(network, {4}, size))
    network.time_scale = scale
    peer.load_state_dict(weights_to(network.state_dict(), network.residual_names(), network.time_widths))
    for norm in (module for module in peer.modules() if isinstance(module, torch.nn.GroupNorm)):
        norm.num_groups = group_count(norm.num_channels, 0)
    return peer.eval()


def theirs(peer: Any, model: Any, steps: int, labels: Tensor, seed: int) -> Tensor:
    """Samples of diffusers' loop, encoded: (n, *shape)."""
    process, network = model.denoiser.process, model.denoiser.network
    scheduler = diffusers.EDMEulerScheduler(
        sigma_min=0.002, sigma_max=process.schedule.sigma_max, sigma_data=model.denoiser.head.data_std
    )
    scheduler.set_timesteps(steps)
    x = torch.randn(len(labels), *model.shape, generator=torch.Generator().manual_seed(seed))
    x = x * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        output = peer(scheduler.scale_model_input(x, t), t * network.time_scale, class_labels=labels).sample
        x = scheduler.step(output, t, x).prev_sample
    return x


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, default=Path("runs/mnist-teacher"))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--ddim", type=int, default=50)
    parser.add_argument("-n", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    if not options.run.exists():
        print(f"not there yet: {options.run}; train it first, for example: undiffuse train mnist-teacher")
        return
    diffusers.logging.set_verbosity_error()
    model: Any = undiffuse.load(options.run, precision="float32")
    labels = torch.arange(options.n) % len(model.classes)
    peer = twin(model.denoiser.network, model.shape[1:])
    x, c_time = torch.randn(4, *model.shape), torch.linspace(-1, 1, 4)
    peers = peer(x, c_time * model.denoiser.network.time_scale, class_labels=labels[:4]).sample
    ours = model.denoiser.network(x, c_time, label=labels[:4])
    print(f"outputs on the same input differ by {float((peers - ours).abs().max()):.1e} at most")
    seconds: list[tuple[float, float]] = []
    calls = 0.0
    for pair in range(options.pairs):
        start = time.perf_counter()
        drawn = model.sample(options.n, steps=options.steps, label=labels.numpy(), seed=pair, batch=options.n)
        between = time.perf_counter()
        theirs(peer, model, options.ddim, labels, pair)
        seconds.append((between - start, time.perf_counter() - between))
        calls = drawn.calls
        print(f"pair {pair + 1}: {seconds[-1][0]:.2f} s and {seconds[-1][1]:.2f} s", flush=True)
    mine, other = (statistics.median(each) / options.n for each in zip(*seconds, strict=True))
    ratio = statistics.median(b / a for a, b in seconds)
    print(f"{calls:g} calls by {'a tuned plan' if drawn.tuned else 'the default plan'}: {1e3 * mine:.2f} ms an image")
    print(f"diffusers, DDIM in {options.ddim} steps: {1e3 * other:.2f} ms an image, {ratio:.2f} times as long")


if __name__ == "__main__":
    main()
