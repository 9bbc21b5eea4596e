"""How often credible sets of each inverse method hold the truth: correlated Gaussian data, a noisy linear measurement.

    python benchmarks/coverage.py [--items 300] [--draws 48] [--steps 60]

Each item is drawn, measured, and restored `draws` times; the set, of the two numbers that were not seen, is the ellipse
that a Gaussian with the draws' mean and covariance gives the nominal share (Hotelling's T^2). bias: of the mean, in the
posterior's deviations, averaged; error: what is wrong with the mean of an item, likewise; width: the draws' variance
over the posterior's. An exact method has 50 %, 90 %, 0, 0 and 1.
"""

import argparse
import math
from collections.abc import Callable
from typing import Any

import torch
from scipy.stats import f as fisher
from torch import Tensor

from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.grids.log_snr import LogSNR
from undiffuse.guidance.dps import DPS
from undiffuse.guidance.inpaint import Inpaint
from undiffuse.guidance.measurement import Measurement
from undiffuse.guidance.mmps import MMPS
from undiffuse.guidance.particles import Particles
from undiffuse.guidance.pigdm import PiGDM
from undiffuse.guidance.repaint import RePaint
from undiffuse.samplers.ancestral import Ancestral
from undiffuse.samplers.heun import Heun
from undiffuse.schedules import VP

MEAN = torch.tensor([0.5, -0.3, 0.1], dtype=torch.float64)
COV = torch.tensor([[1.0, 0.6, 0.2], [0.6, 0.8, 0.3], [0.2, 0.3, 0.5]], dtype=torch.float64)
FIRST = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)  # what is seen: the first number, with noise
STD = 0.1
SHARES = (0.5, 0.9)
ORACLE = GaussianOracle(Gaussian(VP()), MEAN, COV)

GROUP = 16  # particles for one draw
QUICK = ("mmps", "pigdm")  # over heun, of second order
LONG = 5  # times as many steps for the others, over ancestral, whose variance is right only as steps grow
METHODS: dict[str, Callable[[Measurement], tuple[Any, Any]]] = {  # measurement -> denoiser and sampler
    "mmps": lambda y: (MMPS(ORACLE, y, 3), Heun()),
    "particles": lambda y: (ORACLE, Particles(Ancestral(), y, GROUP, proposal=MMPS(ORACLE, y, 3))),
    "pigdm": lambda y: (PiGDM(ORACLE, y), Heun()),
    "dps": lambda y: (ORACLE, DPS(Ancestral(), y)),
    "inpaint": lambda y: (ORACLE, Inpaint(Ancestral(), known(y), FIRST)),
    "repaint": lambda y: (ORACLE, RePaint(Ancestral(), known(y), FIRST, jump=1, resample=5)),
}


def known(y: Measurement) -> Tensor:
    """What replacement takes for the truth: the measurement itself."""
    return y.y * FIRST


def measured(name: str, items: int, draws: int, steps: int, seed: int = 0) -> dict[str, float]:
    """The coverage of each nominal share, the bias and the width of one method."""
    random, size, d = Random(seed), len(MEAN), len(MEAN) - 1
    truth = MEAN + random.fold(0).normal((items, size), dtype=torch.float64) @ torch.linalg.cholesky(COV).T
    y = truth[:, :1] + STD * random.fold(1).normal((items, 1), dtype=torch.float64)
    gain = COV[:, :1] / (COV[0, 0] + STD**2)
    mean, left = MEAN + (y - MEAN[0]) * gain[:, 0], COV - gain @ COV[:1]
    each = draws * (GROUP if name == "particles" else 1)
    denoiser, sampler = METHODS[name](Measurement(lambda x: x[:, :1], y.repeat_interleave(each, 0), STD))
    start = random.fold(2).normal((items * each, size), dtype=torch.float64)
    times = LogSNR()(VP(), steps if name in QUICK else LONG * steps)
    x = sample(denoiser, (items * each, size), sampler=sampler, times=times, seed=seed, start=start)
    x = x.double().reshape(items, draws, -1, size)[:, :, 0, 1:]
    truth, mean, left = truth[:, 1:], mean[:, 1:], left[1:, 1:]
    centre = x.mean(1)
    apart = x - centre[:, None]
    spread = apart.mT @ apart / (draws - 1)
    distance = ((truth - centre) * torch.linalg.solve(spread, truth - centre)).sum(1)
    edge = {
        share: (1 + 1 / draws) * d * (draws - 1) / (draws - d) * fisher.ppf(share, d, draws - d) for share in SHARES
    }
    found = {f"{share:.0%}": float((distance <= edge[share]).double().mean()) for share in SHARES}
    found["bias"] = float(((centre - mean) / left.diagonal().sqrt()).mean(0).abs().max())
    # the y that an item has moves its mean: what is wrong there, on average over items, without the draws' own scatter
    square = ((centre - mean).square() / left.diagonal()).mean(0) - 1 / draws
    found["error"] = math.sqrt(max(0.0, float(square.max())))
    found["width"] = float((spread.diagonal(dim1=1, dim2=2) / left.diagonal()).mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--draws", type=int, default=48)
    parser.add_argument("--steps", type=int, default=60)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'method':10} {'50 % sets':>10} {'90 % sets':>10} {'bias':>7} {'error':>7} {'width':>7}")
    for name in METHODS:
        found = measured(name, given.items, given.draws, given.steps)
        print(
            f"{name:10} {found['50%']:10.1%} {found['90%']:10.1%} "
            f"{found['bias']:7.3f} {found['error']:7.3f} {found['width']:7.3f}"
        )
    print(f"chance alone leaves +- {2 * math.sqrt(0.09 / given.items):.1%} of 90 %")


if __name__ == "__main__":
    main()
