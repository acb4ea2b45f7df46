# SPDX-License-Identifier: Apache-2.0
"""One of two processes of test_run.py, started by `torch.distributed.run` with a configuration file.

Writes the weights and gradients of its rank into the run's folder.
"""

import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn

from sam2_ros.train.finetune.loop import FinetuneRun
from sam2_ros.train.finetune.run_folder import run_folder
from sam2_ros.train.processes import join_processes
from sam2_ros.train.read_config import fill, read_config
from sam2_ros.train.train_config import FinetuneConfig

config = fill(FinetuneConfig, read_config(Path(sys.argv[1])))
with join_processes(config.device) as processes:
    with run_folder(Path(config.out), config) if processes.is_first else nullcontext() as folder:
        run = FinetuneRun(config, processes, folder, print, lambda *_: None)
        run.run()
    one, both, none = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    both.grad = torch.full((2,), float(processes.rank + 1))
    if processes.rank == 1:
        one.grad = torch.ones(2)
    processes.average_gradients([one, both, none])
    left = {
        "weights": run.model.state_dict(),
        "averaged": [one.grad, both.grad, none.grad],
        "total": processes.total(processes.rank + 1.0),
        "gathered": processes.gather([processes.rank]),
        "clips": [list(numbers) for numbers in run.stepper.clip_numbers(0)],
    }
    torch.save(left, Path(config.out) / f"rank{processes.rank}.pt")
