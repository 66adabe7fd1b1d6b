# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import imageio_ffmpeg
import mujoco
import numpy as np
import pytest
from PIL import Image

from pwm_core import rendering
from pwm_core.rendering import Recording, find_renderer, record_episode
from pwm_core.report import studio
from pwm_core.report.film import FILM_SIZE, GIF_SIZE, Marks
from pwm_core.report.run_files import RunFiles
from pwm_core.report.studio import GIF_LIMIT, make_films
from pwm_core.tasks import get_task
from pwm_core.tasks.task import STATE


def recording(time: list[float], policy: list[str], episode: list[int] | None = None) -> Recording:
    return Recording.from_frames(
        {
            "joints": ["slider"],
            "time": time,
            "positions": [[t] for t in time],
            "task": ["cartpole-balance"] * len(time),
            "policy": policy,
            "reward": time,
            "episode": episode or [0] * len(time),
        }
    )


def test_film_runs_at_real_speed_whatever_was_lost() -> None:
    rows = recording([0.0, 0.02, 0.04, 0.14, 0.2], ["p"] * 5).at(25.0)
    assert rows == [0, 2, 2, 2, 3]


def test_the_later_report_of_a_moment_counts() -> None:
    made = recording([0.0, 0.02, 0.02, 0.04], ["a", "a", "b", "b"])
    assert made.time.tolist() == [0.0, 0.02, 0.04]
    assert made.policy == ["a", "b", "b"]
    assert made.changes(made.policy) == [1]


def test_a_record_without_positions_is_refused() -> None:
    with pytest.raises(ValueError, match="no joint positions"):
        Recording.from_frames({"joints": [], "time": [0.0]})


def test_swaps_and_resets_are_marked_for_a_while() -> None:
    time = [0.0, 1.0, 1.5, 5.0, 5.5, 9.0]
    made = recording(time, ["a", "b", "b", "b", "b", "b"], [0, 0, 0, 1, 1, 1])
    marks = Marks(made, ("a", "b"))
    badges = [marks.badge(row) for row in range(6)]
    reset = "reset ▸ cartpole-balance"
    assert badges == ["", "swap ▸ b", "swap ▸ b", reset, reset, ""]
    assert marks.colour("a") != marks.colour("b")


def test_marks_are_drawn_on_the_picture() -> None:
    marks = Marks(recording([0.0, 1.0, 2.0], ["a", "a", "b"]), ("a", "b"))
    image = np.asarray(marks.draw(np.full((180, 320, 3), 90, np.uint8), 2))
    bar = [tuple(int(part[i : i + 2], 16) for i in (1, 3, 5)) for part in map(marks.colour, "ab")]
    assert tuple(image[-1, 10]) == bar[0]
    assert image.std() > 5
    assert (image[90] == 90).all(), "the middle is left alone"


def test_a_backend_that_does_not_draw_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "BACKENDS", ("no-such-backend",))
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    assert find_renderer() is None


def test_a_film_that_fails_is_a_remark(
    run_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(run_path / "policies")
    monkeypatch.setattr(studio, "find_renderer", lambda: "no-such-backend")
    films = studio.make_films(RunFiles(run_path), videos=12, gif=False)
    assert films.session is None
    assert films.episodes == {}
    assert len(films.problems) == 1
    assert "No film of live session" in capsys.readouterr().err


def test_a_film_shows_the_beginning() -> None:
    made = recording([2.0, 3.0, 4.0, 5.0], ["a", "a", "b", "b"]).until(2.0)
    assert made.time.tolist() == [2.0, 3.0, 4.0]
    assert made.policy == ["a", "a", "b"]


@pytest.mark.parametrize("name", ["walker-walk", "mw-drawer-open", "gym-ant"])
def test_an_episodes_states_put_every_body_in_its_place(name: str) -> None:
    """Slides, mocap bodies and floating bases, and what the reset drew into the model."""
    task = dataclasses.replace(get_task(name), episode_steps=4)
    environment = task.make_single(3)
    rng = np.random.default_rng(0)

    def act(observation: np.ndarray) -> np.ndarray:
        return rng.uniform(-1, 1, (len(observation), task.action.size))

    made, states = record_episode(environment, task, act, "random", 3)
    assert len(states) == len(made.time) == 5
    data = mujoco.MjData(environment.model)
    places = []
    for state in states[[0, -1]]:
        mujoco.mj_setState(environment.model, data, state, STATE)
        mujoco.mj_forward(environment.model, data)
        places.append(data.xpos.copy())
    mujoco.mj_forward(environment.model, environment.data)
    np.testing.assert_allclose(places[1], environment.data.xpos, atol=1e-9)
    assert np.abs(places[1] - places[0]).max() > 1e-4, "it moved"
    environment.close()


def test_films_of_a_run(run_path: Path) -> None:
    if find_renderer() is None:
        pytest.skip("neither EGL nor OSMesa draws on this machine")
    (run_path / "policies/cartpole-swingup/policy.safetensors").unlink()
    live = json.loads((run_path / "ros/live.json").read_text())
    films = make_films(RunFiles(run_path), videos=12, gif=True)
    assert films.problems == ()
    assert list(films.episodes) == ["cartpole-balance"]
    assert films.episodes["cartpole-balance"].facts["seed"] == 0
    assert 0 < films.episodes["cartpole-balance"].facts["return"] < 1000
    check_film(films.session.data, live["frames"]["time"][-1], run_path)
    check_film(films.episodes["cartpole-balance"].data, 10.0, run_path)
    check_gif(films.gif.data, run_path)


def check_film(data: bytes, seconds: float, folder: Path) -> None:
    file = folder / "film.mp4"
    file.write_bytes(data)
    reader = imageio_ffmpeg.read_frames(str(file))
    described = next(reader)
    picture = np.frombuffer(next(reader), np.uint8)
    reader.close()
    assert described["codec"].startswith("h264")
    assert described["size"] == FILM_SIZE
    assert described["duration"] == pytest.approx(seconds, abs=0.1)
    assert picture.std() > 10, "something is on the picture"


def check_gif(data: bytes, folder: Path) -> None:
    assert len(data) <= GIF_LIMIT
    file = folder / "film.gif"
    file.write_bytes(data)
    with Image.open(file) as image:
        assert image.size == GIF_SIZE
        assert image.n_frames > 10
