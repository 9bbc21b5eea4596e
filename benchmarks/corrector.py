"""A predictor with a corrector beside the predictor alone, at equal calls, by the exact score and by a network's.

    python benchmarks/corrector.py [--calls 20 50] [--snr 0.08 0.16 0.32] [-n 1000]
    python benchmarks/corrector.py runs/digits-ve [--calls 50 100]

The exact score is that of the 1,797 digits of scikit-learn themselves, which every sample must come back to; a network
is that of a run, on the run's own schedule, without labels. A row for each number of calls: the Frechet distance, in
pixels, of the samples to the data, for reverse_diffusion with as many steps, and for half as many steps of it with one
correction each, at every signal-to-noise ratio and in both orders; then that of as many items drawn from the data.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import undiffuse
from undiffuse.core.oracles import DatasetOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.sample import sample
from undiffuse.core.sampler import Sampler
from undiffuse.data.sources.digits import Digits
from undiffuse.evaluation.metrics.frechet import frechet
from undiffuse.evaluation.sources import of_run
from undiffuse.grids.even import Even
from undiffuse.samplers.corrector import Corrector
from undiffuse.samplers.reverse_diffusion import ReverseDiffusion
from undiffuse.schedules import VE

ORDERS = ("predictor_corrector", "corrector_predictor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--calls", type=int, nargs="+", default=[20, 50])
    parser.add_argument("--snr", type=float, nargs="+", default=[0.08, 0.16, 0.32])
    parser.add_argument("-n", type=int, default=1000)
    options = parser.parse_args()
    denoiser, data = trained(options.run) if options.run else exact()
    some = torch.randint(len(data), (options.n,), generator=torch.Generator().manual_seed(0))
    print(f"{'calls':>6} {'sampler':22}" + "".join(f"{f'snr {snr:g}':>10}" for snr in options.snr))
    print(f"{'':6} {'drawn from the data':22}{distance(data[some], data):10.3f}")
    for calls in options.calls:
        print(f"{calls:6} {'reverse_diffusion':22}{of(denoiser, ReverseDiffusion(), calls, data, options.n):10.3f}")
        for order in ORDERS:
            found = [
                of(denoiser, Corrector(snr=snr, order=order), (calls + 1) // 2, data, options.n) for snr in options.snr
            ]
            print(f"{calls:6} {order:22}" + "".join(f"{each:10.3f}" for each in found), flush=True)


def exact() -> tuple[Any, Tensor]:
    """The score of the digits themselves, and the digits."""
    x = torch.from_numpy(np.asarray(Digits().load().x)).double()
    data = 2 * x / x.max() - 1
    return DatasetOracle(Gaussian(VE(sigma_max=10.0)), data), data


def trained(run: Path) -> tuple[Any, Tensor]:
    """A run's network, and the items that it was trained on, encoded."""
    model: Any = undiffuse.load(run, precision="float32")
    return model.denoiser, model.codec.encode(np.asarray(of_run(model).train.x)).double()


def of(denoiser: Any, sampler: Sampler, steps: int, data: Tensor, n: int) -> float:
    """The distance of n samples in so many even steps to the data, the mean of two seeds."""
    times = Even()(denoiser.process.schedule, steps)
    drawn = [sample(denoiser, (n, *data.shape[1:]), sampler=sampler, times=times, seed=seed) for seed in (0, 1)]
    return float(np.mean([distance(each.double(), data) for each in drawn]))


def distance(x: Tensor, y: Tensor) -> float:
    return float(frechet(x.flatten(1).numpy(), y.flatten(1).numpy()))


if __name__ == "__main__":
    main()
