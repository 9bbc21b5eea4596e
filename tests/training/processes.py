"""Processes of their own, all forked from one that has imported PyTorch: one is killed, and two train together."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from once import once

SETTINGS = [
    "train.precision=float32",
    "network.dropout=0.0",
    "train.steps=4",
    "train.log_every=1",
    "train.snapshots=0",
    "train.validate_every=0",
]
KILLS = Path(__file__).parents[2] / "benchmarks" / "kills.py"
KILLED = "killed.txt"  # what the benchmark of kills said, and after it its exit status
SCRIPT = f"""
import os, runpy, sys, torch, torch._dynamo, torch.utils.tensorboard
from pathlib import Path
torch.set_num_threads(1)
port, folder, *settings = sys.argv[1:]
kills = os.fork()
if not kills:
    sys.argv[1:] = ["--kills", "1"]
    os.dup2(os.open(Path(folder, {KILLED!r}), os.O_CREAT | os.O_WRONLY | os.O_APPEND), 1)
    os.dup2(1, 2)
    runpy.run_path({str(KILLS)!r}, run_name="__main__")
with open(Path(folder, {KILLED!r}), "a") as said:
    said.write(f"status {{os.waitstatus_to_exitcode(os.waitpid(kills, 0)[1])}}")
import players
from tiny_run import TABLES
from undiffuse.training.start import train
# what torchrun and accelerate launch tell their processes
os.environ |= {{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}}
other = os.fork()
os.environ["RANK"] = os.environ["LOCAL_RANK"] = "0" if other else "1"
train(TABLES, out=Path(folder, "digits"), overrides=settings).run(progress=False)
players.training("contrastive", Path(folder, "contrastive")).run(progress=False)
players.pairing(Path(folder, "pairing"), "sgd").run(progress=False)
players.adapting(Path(folder, "adapting")).run(progress=False)
players.reconstructing(Path(folder, "reconstructing")).run(progress=False)
players.consistent(Path(folder, "consistent"), "sgd").run(progress=False)
players.jumping(Path(folder, "jumping"), "sgd").run(progress=False)
players.halving(Path(folder, "halving"), "sgd").run(progress=False)
players.quantising(Path(folder, "quantising")).run(progress=False)
players.matching(Path(folder, "matching"), "sgd").run(progress=False)
torch.distributed.destroy_process_group()
sys.exit(other and os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]))
"""


def processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what they left, which are started once: the runs of two processes, and what was said of kills."""
    return once(tmp_path_factory, "processes", start)


def start(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", SCRIPT, port, str(folder), *SETTINGS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
