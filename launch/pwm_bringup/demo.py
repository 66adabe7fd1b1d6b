# SPDX-License-Identifier: Apache-2.0
"""``pwm demo``: the whole path, from data to a policy on a simulated robot over ROS 2."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pwm_bringup.demo_ros import run_ros
from pwm_bringup.demo_seeds import SeedStudy
from pwm_bringup.stages import Stage, StageRecord, run_stages
from pwm_core.extraction.config import Overrides
from pwm_core.progress import clock
from pwm_core.run_directory import start_over
from pwm_core.verbs.collect import Collect
from pwm_core.verbs.eval import Evaluate
from pwm_core.verbs.extract import Extract
from pwm_core.verbs.pretrain import Pretrain
from pwm_core.verbs.report import Report
from pwm_export.verb import Export

SWING_UP, BALANCE = "cartpole-swingup", "cartpole-balance"
TASKS = (SWING_UP, BALANCE)


@dataclass(frozen=True)
class Demo:
    """Collect, pretrain, extract, evaluate, export, drive a simulated robot over ROS 2, report."""

    out: Path = Path("runs/demo")
    """Directory of the run; a repeated command goes on where the last one stopped."""
    seed: int = 0
    """Seed of data, world model and policies."""
    training_seeds: int = 1
    """More than 1: world model and policies are trained again with seeds seed + 1, … on the same
    data, and the report gives mean and spread over the seeds (about 3 minutes each)."""
    updates: int = 2000
    """World-model updates."""
    iterations: int = 400
    """Extraction iterations per task."""
    episodes: int = 10
    """Evaluation episodes per controller."""
    ros: bool = True
    """Drive the simulated robot over ROS 2."""
    fresh: bool = False
    """Delete what an earlier run left and start over."""

    def run(self) -> int:
        """Run the stages that are not done; print where the report lies."""
        if self.fresh and self.out.exists():
            print(f"starting over in {self.out}")
            start_over(self.out, ("stages.json",))
        settings = {
            name: getattr(self, name) for name in ("seed", "updates", "iterations", "episodes")
        }
        record = StageRecord(self.out / "stages.json", settings)
        status = run_stages(self._stages(), record)
        if status == 0:
            print(f"\nAll stages: {clock(record.total())}. Open {self.out / 'report.html'}")
            print(f"Drive it yourself: pwm sim --policy-dir {self.out / 'bundles'}")
        return status

    def _policies(self) -> tuple[Path, ...]:
        return tuple(self.out / "policies" / task / "policy.safetensors" for task in TASKS)

    def _bundles(self) -> tuple[Path, ...]:
        return tuple(self.out / "bundles" / f"{task}.onnx" for task in TASKS)

    def _stages(self) -> list[Stage]:
        stages = self._offline()
        if self.training_seeds > 1:
            study = SeedStudy(
                self.out, self.seed, self.training_seeds, self._pretrain, self._extract, SWING_UP
            )
            stages.append(study.stage())
        if self.ros:
            stages.append(self._ros())
        report = self.out / "report.html"
        purpose = f"write {report}"
        return [*stages, Stage("report", purpose, (report,), Report(directory=self.out).run)]

    def _pretrain(self, directory: Path, seed: int) -> Pretrain:
        return Pretrain(
            data=self.out / "data",
            out=directory / "world_model",
            updates=self.updates,
            seed=seed,
        )

    def _extract(self, directory: Path, seed: int) -> Extract:
        return Extract(
            world_model=directory / "world_model" / "world_model.safetensors",
            data=self.out / "data",
            out=directory / "policies",
            tasks=TASKS,
            overrides=Overrides(iterations=self.iterations),
            seed=seed,
        )

    def _offline(self) -> list[Stage]:
        out, data, evaluation = self.out, self.out / "data", self.out / "evaluation.json"
        collect = Collect(tasks=TASKS, out=data, seed=self.seed)
        pretrain, extract = self._pretrain(out, self.seed), self._extract(out, self.seed)
        evaluate = Evaluate(self._policies(), data=data, out=evaluation, episodes=self.episodes)
        export = Export(self._policies(), data=data, evaluation=evaluation, out=out / "bundles")
        return [
            Stage(
                "collect",
                "offline data of mixed quality for two tasks of one robot (random, noise, MPC)",
                (data / "dataset.json",),
                collect.run,
            ),
            Stage(
                "pretrain",
                "one world model for both tasks, judged on held-out episodes",
                (out / "world_model" / "world_model.safetensors",),
                pretrain.run,
            ),
            Stage(
                "extract",
                "one policy per task by first-order gradients through the frozen world model",
                self._policies(),
                extract.run,
            ),
            Stage(
                "eval",
                "the policies in the real simulator, beside random, their data and its clones",
                (evaluation,),
                evaluate.run,
            ),
            Stage(
                "export",
                "one self-contained ONNX bundle per policy, checked against torch",
                self._bundles(),
                export.run,
            ),
        ]

    def _ros(self) -> Stage:
        out = self.out / "ros"
        return Stage(
            "ros",
            "bridge and policy node as processes: a lockstep episode, then live swaps",
            (out / "lockstep.json", out / "live.json"),
            lambda: run_ros(self.out, SWING_UP, BALANCE),
        )
