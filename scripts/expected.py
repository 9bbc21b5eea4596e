"""Keep a run's validation curve as what the shipped recipe is expected to do: the training page draws it beside others.

undiffuse train digits --out runs/digits && python scripts/expected.py runs/digits
"""

import argparse
import platform
from pathlib import Path

import torch

from undiffuse.evaluation.record import history
from undiffuse.reports.training_page import EXPECTED
from undiffuse.storage.files import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "run", type=Path, help="the finished run of a shipped recipe, nothing but its data path changed"
    )
    parser.add_argument("--name", help="the recipe's name; default: the folder's")
    given = parser.parse_args()
    name = given.name or given.run.resolve().name
    steps, losses = history(given.run)["validation_loss"]
    write_json(
        EXPECTED / f"{name}.json",
        {
            "command": f"undiffuse train {name}",
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
            "step": steps,
            "validation_loss": losses,
        },
    )
    print(f"{EXPECTED / f'{name}.json'}: {len(steps)} values")


if __name__ == "__main__":
    main()
