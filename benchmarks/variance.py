"""How far samples are from the data by the variance of the reverse step, where steps are few.

    python benchmarks/variance.py runs/digits-ddpm [--steps 10 25] [--samples 1800]

The run is one that `undiffuse tune RUN variance --keep` has given its best variance. For each number of steps, on the
grid `linspace` (from the noisiest to the cleanest step of the table, as in arXiv:2201.06503), the Frechet distance of
pixels in [-1, 1] between the samples and all real items, train and held out; the floor is between two random halves of
these. Samples share their noise.
"""

import argparse
from pathlib import Path

import numpy as np

import undiffuse
from undiffuse.core import registry
from undiffuse.evaluation.metrics.frechet import frechet
from undiffuse.samplers import Ancestral


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, default=Path("runs/digits-ddpm"))
    parser.add_argument("--steps", nargs="+", type=int, default=[10, 25])
    parser.add_argument("--samples", type=int, default=1800)
    options = parser.parse_args()
    if not options.run.exists():
        print(f"not there yet: {options.run}; train it and run: undiffuse tune {options.run} variance --keep")
        return
    model = undiffuse.load(options.run)
    data = registry.build("data", model.recipe["data"]).load()
    real = model.codec.encode(np.asarray(data.x)).flatten(1).double().numpy()
    half = np.random.default_rng(0).permutation(len(real))
    print(f"floor, {len(real) // 2} a side: {frechet(*(real[part] for part in np.array_split(half, 2))):.3f}")
    for steps in options.steps:
        for variance in ("beta", "posterior", *(["exact"] if model.variance else [])):
            classes = np.arange(options.samples) % len(model.classes) if model.classes else None
            x = model.sample(options.samples, sampler=Ancestral(variance), steps=steps, times="linspace", label=classes)
            distance = frechet(model.codec.encode(x).flatten(1).double().numpy(), real)
            print(f"{steps} steps, {variance}: {distance:.3f}", flush=True)


if __name__ == "__main__":
    main()
