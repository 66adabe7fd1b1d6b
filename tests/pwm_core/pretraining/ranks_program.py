# SPDX-License-Identifier: Apache-2.0
"""What every process does that ``test_ranks.py`` starts with torchrun: ``JOBS DATA``."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pwm_core.data.dataset import Dataset
from pwm_core.errors import PwmError
from pwm_core.pretraining.runner import Pretraining, PretrainingConfig, PretrainingOptions
from pwm_core.ranks import Ranks, joined_ranks


@dataclass(frozen=True)
class Job:
    """One training, whose weights every rank leaves in ``out/rankN.pt``.

    Where it must not pass, each rank leaves the message in ``out/rankN.txt``.
    """

    out: Path
    config: PretrainingConfig
    options: PretrainingOptions
    own_seeds: bool = False
    """Each rank has another seed, which must not pass."""
    diverges_at: int = -1
    """Update at which a weight of rank 1 is not a number any more, which must not pass either."""
    dies_at: int = -1
    """Update at which rank 1 is killed."""

    def run(self, data: Path, ranks: Ranks) -> None:
        config = replace(self.config, seed=ranks.number) if self.own_seeds else self.config
        training = Pretraining(Dataset(data), self.out, config, self.options, ranks=ranks)
        update = training._update

        def mortal() -> dict[str, torch.Tensor]:
            if ranks.number == 1 and training.step == self.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if ranks.number == 1 and training.step == self.diverges_at:
                next(training.model.dynamics.parameters()).data.fill_(torch.nan)
            return update()

        training._update = mortal  # type: ignore[method-assign]
        try:
            trained = training.run()
        except PwmError as error:
            if not self.own_seeds and self.diverges_at < 0:
                raise
            (self.out / f"rank{ranks.number}.txt").write_text(str(error))
            return
        torch.save(trained.model.state_dict(), self.out / f"rank{ranks.number}.pt")


if __name__ == "__main__":
    import __main__

    sys.modules["ranks_program"] = __main__  # where the jobs were made
    with joined_ranks() as ranks:
        for job in pickle.loads(Path(sys.argv[1]).read_bytes()):
            job.run(Path(sys.argv[2]), ranks)
