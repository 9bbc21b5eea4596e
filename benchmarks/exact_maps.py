"""How near a small network comes to the exact flow map of two modes, by each objective that learns it from data.

    python benchmarks/exact_maps.py [--steps 600] [--batch 512] [--ends 0.07] [--only shortcut]

A network of 13,000 weights, 1-D data of two modes, the straight path. Distance: root mean square between where jumps
land and where the exact map ends, in standard deviations of the data, over 512 quantiles of the noise; an Euler step
from 1 to 0, which lands on the mean, is 1 away. Two rows are floors: `regression` learns the exact average velocities
at the times of MeanFlow, and is what the network and its training can do; `exact velocity` is MeanFlow with the
velocity of the marginal in the place of the drawn one, and has no noise in its target. `original` and `improved` are
the forms of MeanFlow.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from undiffuse.core import straight_path
from undiffuse.core.broadcast import factor
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.objectives import MeanFlow, Shortcut
from undiffuse.schedules import FlowSchedule
from undiffuse.time_distributions.uniform import Uniform

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
# the exact maps that the tests know
from flow_maps import MixtureMap, distance, small, train  # pyright: ignore[reportMissingImports]

EXACT = MixtureMap(FlowSchedule())
PATHS = ((1.0, 0.0), (1.0, 0.5, 0.0), (0.5, 0.0))


@dataclass(frozen=True)
class Known(MeanFlow):
    """MeanFlow where the exact map is known. velocities: of the instant alone, else the average ones are regressed."""

    velocities: bool = False

    def between(self, t: Tensor, r: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        schedule = model.process.schedule
        x_t = model.process.marginal(batch.x, t).sample(random.fold(3))
        u = straight_path.velocity(model, x_t, t, r)
        with torch.no_grad():
            target = straight_path.velocity(EXACT, x_t.double(), t, None if self.velocities else r).to(u)
        if self.velocities:
            span = straight_path.place(schedule, t) - straight_path.place(schedule, r)
            rate = straight_path.velocity_rate(model, x_t, t, r, target, {}, self.derivative)
            target = target - factor(span, u) * rate
        return (u - target).square().flatten(1).mean(1)


def rows(ends: float) -> dict[str, Any]:
    """The objectives, by what they are called; ends: see `Uniform`."""
    pairs: dict[str, Any] = {"times": Uniform(1e-3, ends), "instant": 0.4}
    return {
        "regression": Known(**pairs),
        "exact velocity": Known(**pairs, velocities=True),
        "original": MeanFlow("original", **pairs),
        "improved": MeanFlow("improved", **pairs),
        "shortcut": Shortcut(bootstrap=0.5, times=Uniform(), finest=32),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--ends", type=float, default=0.07, help="the share of times of MeanFlow at each end")
    parser.add_argument("--only", choices=list(rows(0.0)), nargs="+", default=list(rows(0.0)))
    options = parser.parse_args()
    torch.set_num_threads(1)
    objectives = rows(options.ends)
    names = [" -> ".join(f"{t:g}" for t in path) for path in PATHS]
    print(f"{'':20}" + "".join(f"{name:>14}" for name in names) + f"{'CPU seconds':>14}")
    for name in options.only:
        torch.manual_seed(0)
        begun = time.process_time()
        model = train(small(FlowSchedule()), objectives[name], steps=options.steps, batch=options.batch, lr=options.lr)
        spent = time.process_time() - begun
        found = "".join(f"{distance(model, EXACT, path):14.3f}" for path in PATHS)
        print(f"{name:20}{found}{spent:14.1f}", flush=True)


if __name__ == "__main__":
    main()
