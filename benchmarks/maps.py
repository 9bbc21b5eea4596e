"""Do samples follow the picture that they were told? The map of each sample beside the map that was asked for.

    python benchmarks/maps.py runs/fashion-map [-n 200]

For a run with one image condition that is made of its items (`of = "layout:4:4"`, "superresolve:4" ...): the condition
is made again of every sample. Agreement is the share of equal blocks, distance the root mean square difference in grey
levels of 255; the same for real pictures with the maps of others is what chance gives. Writes a sheet with the maps,
two samples of each, and the pictures that the maps were made of.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import undiffuse
from undiffuse import pictures
from undiffuse.data.derived_conditions import derived
from undiffuse.evaluation import sources
from undiffuse.storage.files import write_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, default=Path("runs/fashion-map"))
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--weights", type=float, nargs="+", default=[1, 1.5, 2])
    parser.add_argument("--out", type=Path, default=Path("maps.png"))
    options = parser.parse_args()
    if not options.run.exists():
        print(f"not there yet: {options.run}; train it first, for example: undiffuse train fashion-map")
        return
    model = undiffuse.load(options.run)
    ((name, _),) = model.conditions.items()
    items = sources.against(model, None).held_out.some(options.n)
    asked = items.conditions[name]
    told: dict[str, Any] = {name: asked, "progress": True}
    print(f"{'':12} {'agreement':>10} {'distance':>9}")
    shown = [large(asked[:12], items.shape)]
    for weight in options.weights:
        for seed in (0, 1)[: 2 if weight == options.weights[0] else 1]:
            x = model.sample(len(asked), seed=seed, guidance=weight, **told).numpy()
            shown.append(x[:12])
            if not seed:
                again = derived(replace(items, x=x, conditions={}, known=None), model.conditions).conditions[name]
                row(f"guidance {weight:g}", again, asked)
    row("chance", np.roll(asked, 1, axis=0), asked)
    sheet = np.concatenate([*shown, np.asarray(items.x)[:12]])
    write_bytes(options.out, pictures.png(pictures.grid(pictures.as_images(sheet), columns=12)))
    print(f"{options.out}: the maps, samples of each (two with the first weight), and the real pictures")


def row(what: str, found: np.ndarray, asked: np.ndarray) -> None:
    """One line of the table."""
    apart = found.astype(np.float64) - asked
    print(f"{what:12} {float((np.abs(apart) < 0.5).mean()):10.1%} {float((apart**2).mean() ** 0.5):9.2f}", flush=True)


def large(maps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The maps at the pictures' size."""
    times = shape[-1] // maps.shape[-1]
    return maps.repeat(times, -1).repeat(times, -2)


if __name__ == "__main__":
    main()
