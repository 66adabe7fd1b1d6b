# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from pwm_core.checkpoint import load_checkpoint, save_checkpoint
from pwm_core.cli import main
from pwm_core.evaluation.score import Score
from pwm_core.report import studio
from pwm_core.report.build import build_page
from pwm_core.report.charts import SERIES
from pwm_core.report.film import COLOURS
from pwm_core.report.run_files import RunFiles
from pwm_core.report.sections.evaluation import counts
from pwm_core.report.sections.headline import doubts
from pwm_core.report.sections.ros import agreement, joint_unit
from pwm_core.report.studio import Film, Films

FILMS = Films(
    session=Film(b"session", {"seconds": 2.0}),
    episodes={"cartpole-swingup": Film(b"episode", {"seconds": 10.0, "seed": 4, "return": 777.0})},
)


class Reader(HTMLParser):
    """Checks nesting; keeps text, addresses and element names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self._note(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def test_every_part_is_on_the_page(run_path: Path) -> None:
    reader = Reader(build_page(RunFiles(run_path), FILMS))
    for shown in (
        "PWM Deploy: demo & more",
        "training seed 17",
        "revision 0123456789",
        "Made-Up-1",
        "seed 4, return 777",  # the film
        "801.0",  # evaluation
        "is above the best episode in its data (612) and above the best clone (533)",
        "801.0801",  # lockstep
        "1.0e-04",
        "49.870",  # control loop
        "20.440",
        "18.70",  # swap
        "A swap to '<no> such & policy' was refused",
        "slider (m)",
        "hinge_1 (rad)",
        "2.13%",  # world model
        "11.11%",
        "trusted reward error: 6 %",
        "mpc-0.2",  # data
        "61.5 s",  # stages
        "1:14",
        "bundles/swingup.onnx",
        "dataset differs",
    ):
        assert shown in reader.text, shown
    assert reader.names.count("video") == 2
    assert reader.names.count("svg") == 2 + 1 + 2 + 2 + 1
    assert "Made by" not in reader.text


def test_the_page_needs_no_other_file(run_path: Path) -> None:
    page = build_page(RunFiles(run_path), FILMS)
    reader = Reader(page)
    assert {address.partition(":")[0][:1] for address in reader.addresses} == {"#", "d"}
    assert not {"script", "link", "iframe", "img"} & set(reader.names)
    assert "http" not in page
    assert "@import" not in page
    assert "url(" not in page


def test_an_empty_directory_gives_the_commands(tmp_path: Path) -> None:
    reader = Reader(build_page(RunFiles(tmp_path), Films()))
    for verb in ("collect", "pretrain", "extract", "eval", "export"):
        assert f"pwm {verb}" in reader.text
    for kind in ("lockstep", "live"):
        assert f"session {kind}" in reader.text
    assert "make demo" in reader.text


@pytest.mark.parametrize(
    ("missing", "note"),
    [
        ("data", "There is no readable data."),
        ("world_model", "No world model has been trained."),
        ("world_model/world_model.safetensors", "World-model training has not ended."),
        ("world_model/metrics.jsonl", "The learning curve (metrics.jsonl) is missing."),
        ("policies", "No policy has been extracted."),
        (
            "policies/cartpole-balance/policy.safetensors",
            "Extraction of cartpole-balance has not ended.",
        ),
        ("evaluation.json", "The policies have not been evaluated."),
        ("ros/lockstep.json", "No lockstep episode was recorded."),
        ("ros/live.json", "No live session was recorded."),
        ("bundles", "No ONNX bundle was exported."),
        ("stages.json", "Stage times were not recorded."),
    ],
)
def test_a_missing_part_is_named_and_the_rest_stays(
    run_path: Path, missing: str, note: str
) -> None:
    path = run_path / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert note in Reader(build_page(RunFiles(run_path), Films())).text


@pytest.mark.parametrize(
    "damaged", ["evaluation.json", "ros/live.json", "world_model/world_model.safetensors"]
)
def test_a_damaged_file_is_named(run_path: Path, damaged: str) -> None:
    (run_path / damaged).write_text('{"half": ')
    text = Reader(build_page(RunFiles(run_path), Films())).text
    assert str(run_path / damaged) in text


def test_truncated_data_is_named(run_path: Path) -> None:
    (run_path / "data/reward.f32").write_bytes(b"")
    assert "it was truncated" in Reader(build_page(RunFiles(run_path), Films())).text


def set_quality(run: Path, **changes: object) -> None:
    """Change what the run's world model says of its own errors."""
    file = run / "world_model/world_model.safetensors"
    tensors, header = load_checkpoint(file)
    header["quality"] |= changes
    save_checkpoint(file, tensors, header)


def test_a_poor_model_is_a_warning(run_path: Path) -> None:
    set_quality(run_path, reward_error=0.2)
    text = Reader(build_page(RunFiles(run_path), Films())).text
    both = "world model, cartpole-swingup, cartpole-balance: held-out relative reward error is 20.0"
    assert text.count(both) == 1


def test_a_model_is_doubted_task_by_task(run_path: Path) -> None:
    set_quality(run_path, tasks={"cartpole-swingup": {"reward_error": 0.01}})
    (doubt,) = doubts(RunFiles(run_path))
    assert doubt.startswith("world model, cartpole-balance: nothing is known of its reward error")


def test_a_model_without_data_and_policies_is_judged_as_a_whole(run_path: Path) -> None:
    set_quality(run_path, reward_error=0.2)
    for folder in ("data", "policies"):
        shutil.rmtree(run_path / folder)
    (doubt,) = doubts(RunFiles(run_path))
    assert doubt.startswith("world model: held-out relative reward error is 20.0%")


def test_beating_a_negative_return_by_half(tmp_path: Path) -> None:
    scores = [Score(task, "data, mean", (-100.0,), ()) for task in ("near", "far")]
    scores += [
        Score(task, "extracted policy", (earned,), (0,))
        for task, earned in (("near", -60.0), ("far", -40.0))
    ]
    kept = {"scores": [score.to_json() for score in scores]}
    (tmp_path / "evaluation.json").write_text(json.dumps(kept))
    assert counts(RunFiles(tmp_path)) == [
        "1 of 2 policies beat the mean of their data by half; not near."
    ]


def test_agreement_compares_the_same_seed(run_path: Path) -> None:
    assert agreement(RunFiles(run_path)) == pytest.approx(1e-4)
    lockstep = json.loads((run_path / "ros/lockstep.json").read_text())
    (run_path / "ros/lockstep.json").write_text(json.dumps(lockstep | {"seed": 99}))
    assert agreement(RunFiles(run_path)) is None
    Reader(build_page(RunFiles(run_path), Films()))


def test_an_evaluation_of_another_policy_is_not_taken_for_this_one(run_path: Path) -> None:
    evaluation = run_path / "evaluation.json"
    scores = json.loads(evaluation.read_text())["scores"]
    for score in scores:
        if score["task"] == "cartpole-swingup" and score["policy"]:
            score["policy"] = "0" * 64
    evaluation.write_text(json.dumps({"scores": scores}))
    run = RunFiles(run_path)
    assert run.policy_score("cartpole-swingup") is None
    assert run.policy_score("cartpole-balance").mean == 801.0
    text = Reader(build_page(run, Films())).text
    assert "cartpole-swingup: the evaluation judged another policy file" in text
    assert "cartpole-balance: the evaluation judged" not in text


def test_training_seeds_are_shown(run_path: Path) -> None:
    row = {"task": "cartpole-swingup", "seeds": "0, 1, 2", "mean": 812.34}
    (run_path / "seeds.json").write_text(json.dumps({"rows": [row]}))
    text = Reader(build_page(RunFiles(run_path), Films())).text
    assert "0, 1, 2" in text
    assert "812.3" in text


def test_a_session_without_positions_has_no_trace(run_path: Path) -> None:
    file = run_path / "ros/live.json"
    live = json.loads(file.read_text())
    live["frames"]["joints"] = []
    file.write_text(json.dumps(live))
    text = Reader(build_page(RunFiles(run_path), Films())).text
    assert "No trace: the session's record holds no joint positions" in text


def test_joint_units() -> None:
    assert joint_unit("cartpole-swingup", "slider") == "m"
    assert joint_unit("cartpole-swingup", "hinge_1") == "rad"
    assert joint_unit("somebody's own task", "slider") == "m or rad"


def test_films_and_page_share_their_colours() -> None:
    css = (resources.files("pwm_core.report") / "report.css").read_text()
    assert len(COLOURS) == SERIES
    for index, colour in enumerate(COLOURS):
        assert f"--s{index}: {colour}" in css


def test_without_a_renderer_the_page_says_so(
    run_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(studio, "find_renderer", lambda: None)
    assert main(["report", "--run", str(run_path), "--json"]) == 0
    output = capsys.readouterr()
    made = json.loads(output.out)
    assert made["videos"] == 0
    assert made["problems"] == [studio.NO_RENDERER]
    assert studio.NO_RENDERER in output.err
    assert studio.NO_RENDERER in Reader((run_path / "report.html").read_text()).text


def test_videos_can_be_left_out(run_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere/page.html"
    assert main(["report", "--run", str(run_path), "--videos", "0", "--out", str(out)]) == 0
    assert "video" not in Reader(out.read_text()).names


def test_wrong_use_is_an_error_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--run", str(tmp_path / "absent")]) == 2
    assert main(["report", "--run", str(tmp_path), "--gif", str(tmp_path / "a.gif")]) == 2
    errors = capsys.readouterr().err
    assert "absent is not a directory" in errors
    assert "no GIF without a live session" in errors


def test_many_tasks_and_seeds(many_path: Path) -> None:
    run = RunFiles(many_path)
    assert [len(stages) for stages in run.trainings.values()] == [3] * 5
    assert {stage.path.parent.name for stage in run.policies.values()} == {"seed1"}, "the middle"
    page = build_page(run, Films())
    reader = Reader(page)
    for shown in (
        "5 of 5 policies beat the mean of their data by half.",
        "4 of 5 policies beat cloning of the best tenth; not mw-drawer-open.",
        "0 of 5 policies beat the authors' published score; not cartpole-swingup, ",
        "Better than the best clone",
        "4 of 5",
        "over 5 tasks; the authors' ",
        "Performance profiles by rliable",
        "Interquartile mean over 5 tasks",
        "Errors of the world model on each task",
        "17.00%",
        "exploits the world model: imagined return 900, real 300 (1 of 3 training seeds)",
        "model exploitation",
        "Train longer",
        "seed 2",
        "0.12 / 0.34",
    ):
        assert shown in reader.text, shown
    assert page.count('class="mark ') == 5 * 3, "published, best tenth, mean of the data"
    assert len(page) < 1_000_000


def test_the_films_of_many_tasks_go_from_the_best_to_the_worst(many_path: Path) -> None:
    run = RunFiles(many_path)
    scores = {s.task: s.score for s in run.summaries if s.controller == "extracted policy"}
    ranked = sorted(scores, key=lambda task: -scores[task])
    assert studio._filmed(run, 3) == [ranked[0], ranked[2], ranked[4]]
    assert studio._filmed(run, 1) == ranked[:1]
    assert studio._filmed(run, 0) == []
    assert sorted(studio._filmed(run, 9)) == sorted(ranked)
