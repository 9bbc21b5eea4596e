"""A chain's time over that of its stages run alone, one after the other.

    python benchmarks/chain.py [--run runs/cascade] [--pairs 5] [-n 16]

Without a run it makes a chain of the recipes emoji-16, emoji-32-up and emoji-64-up with their first weights: time does
not depend on weights. Both sides make the same samples, which is checked. Runs alternate; `ratio` is the median of the
pairs in CPU seconds of this process, and `seconds` the medians, of these and on the clock, of a chain's whole sampling.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import undiffuse
from undiffuse.conditions.declared import declared
from undiffuse.core import registry
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.chained import StageTable
from undiffuse.sampling.request import SampleRequest

STAGES = {"base": ("emoji-16", 16), "up32": ("emoji-32-up", 32), "up64": ("emoji-64-up", 64)}
CLASSES = tuple("abcdefghi")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("-n", type=int, default=16)
    options = parser.parse_args()
    chain: Any = undiffuse.load(options.run, "float32") if options.run else untrained()
    print("stages:", chain.about()["stages"])
    request = SampleRequest(n=options.n)
    together(chain, request)
    ratios, cpu, seconds = list[float](), list[float](), list[float]()
    for i in range(options.pairs):
        sides = [together, apart] if i % 2 else [apart, together]
        spent = {side: measured(side, chain, request) for side in sides}
        assert torch.equal(spent[together][2], spent[apart][2]), "both sides make the same samples"
        ratios.append(spent[together][0] / spent[apart][0])
        cpu.append(spent[together][0])
        seconds.append(spent[together][1])
    print(f"{options.n} samples, {options.pairs} pairs, {torch.get_num_threads()} threads")
    print(f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    print(f"seconds {statistics.median(cpu):.1f} of CPU, {statistics.median(seconds):.1f} on the clock")


def together(chain: Any, request: SampleRequest) -> Any:
    """The chain's samples."""
    return chain.open(request).draw()


def apart(chain: Any, request: SampleRequest) -> Any:
    """The same by hand: each stage alone, told what the one before made."""
    session, made = chain.open(request), None
    for i, stage in enumerate(chain.stages):
        made = stage.run.open(session.of_stage(i, None if made is None else made.numpy())).draw()
    return made


def measured(side: Any, chain: Any, request: SampleRequest) -> tuple[float, float, Any]:
    """CPU seconds, seconds on the clock, and what came out."""
    cpu, clock = time.process_time(), time.perf_counter()
    made = side(chain, request)
    return time.process_time() - cpu, time.perf_counter() - clock, made


def untrained() -> Any:
    """The chain of the recipes, with first weights."""
    kind: Any = registry.get("models", "chain")
    runs = {name: first(recipe, size) for name, (recipe, size) in STAGES.items()}
    return kind.of_runs(runs, {name: StageTable(name, augmentation=0.2) for name in list(STAGES)[1:]})


def first(name: str, size: int) -> Any:
    """The run of a recipe before its training."""
    recipe = Recipe.find(name)
    found = declared(recipe["conditions"])
    found["label"] = replace(found["label"], classes=CLASSES)
    if "low" in found:
        found["low"] = replace(found["low"], shape=(3, size // 2, size // 2), dtype="uint8")
    kind: Any = registry.get("models", recipe.kind)
    about = Description(recipe, (3, size, size), found, registry.build("codecs", recipe["codec"]), {})
    torch.manual_seed(0)
    return kind.of(kind.build(about).eval().requires_grad_(False), about)


if __name__ == "__main__":
    main()
