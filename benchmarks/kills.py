"""Kill training at random moments, also inside a save, resume it, and compare the end with a run that nothing stopped.

    python benchmarks/kills.py --kills 20

Each run is killed once, resumed, and compared. It saves after every step, so that many kills come inside a save.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # these two here, so that the processes that are killed do not each import them
import torch.utils.tensorboard

from undiffuse.training import checkpoint
from undiffuse.training.start import train

STEPS = 10
TABLES: dict[str, Any] = {
    "data": {"name": "moons", "count": 2000},
    "codec": {"name": "whiten"},
    "schedule": {"name": "flow"},
    "network": {"name": "mlp", "width": 256, "depth": 3, "waves": 4},
    "parameterization": {"name": "flow"},
    "objective": {"name": "denoising", "weighting": "snr_plus_one", "times": "stratified"},
    "conditions": {"label": {"drop": 0.2}},
    "train": {
        "steps": STEPS,
        "batch": 64,
        "warmup": 3,
        "log_every": 2,
        "checkpoint_every": 1,
        "preview_every": 0,
        "validate_every": 5,
        "snapshots": 5,
    },
}


def child(run: Path, resume: bool) -> int:
    """Train in a process of its own; returns its number."""
    number = os.fork()
    if number == 0:
        try:
            train(TABLES, out=run, resume=resume).run(progress=False)
        except BaseException as error:
            print(f"the run ended with {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return number


def finish(number: int) -> bool:
    """Wait for a process; whether it came to its end by itself. Raises SystemExit if it failed."""
    _, status = os.waitpid(number, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a resumed run failed")
    return os.WIFEXITED(status)


def equal(one: Path, other: Path) -> bool:
    """Whether two finished runs have the same checkpoint, model, snapshots and numbers, bit for bit."""
    snapshots = sorted(str(path.relative_to(one)) for path in (one / "ema").iterdir())
    names = ["model.safetensors", *snapshots]
    ends = [checkpoint.newest(run) for run in (one, other)]
    mine, theirs = (checkpoint.load(end)[0] if end else {} for end in ends)
    tensors = mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    logs = [
        [{k: v for k, v in line.items() if k not in ("seconds", "samples_per_second")} for line in _log(run)]
        for run in (one, other)
    ]
    return (
        tensors
        and len(snapshots) == 5
        and logs[0] == logs[1]
        and all((one / n).read_bytes() == (other / n).read_bytes() for n in names)
    )


def _log(run: Path) -> list[dict[str, Any]]:
    from undiffuse.training.log import read

    return read(run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None, help="of the moments; default: a new one")
    given = parser.parse_args()
    torch.set_num_threads(1)
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "whole")
        started = time.perf_counter()
        finish(child(whole, resume=False))
        length = time.perf_counter() - started
        kills = good = inside = 0
        while kills < given.kills:
            run = Path(folder, f"run{kills}")
            number = child(run, resume=False)
            time.sleep(moments.uniform(0.02, 1.0) * length)
            os.kill(number, signal.SIGKILL)
            if finish(number):
                shutil.rmtree(run)  # it was faster
                continue
            kills += 1
            inside += any(run.rglob(".partial-*"))
            finish(child(run, resume=(run / "recipe.toml").exists()))
            good += equal(whole, run)
    print(
        f"{kills} kills (seed {seed}), {inside} inside a save; "
        f"resumed runs that are bit-equal to the uninterrupted one: {good} of {kills}"
    )
    sys.exit(good != kills)


if __name__ == "__main__":
    main()
