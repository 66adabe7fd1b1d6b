# SPDX-License-Identifier: Apache-2.0
"""Bags; ``tests/integration/test_bag.py`` records one of running nodes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pwm_core.cli import main
from pwm_core.data.dataset import Dataset
from pwm_core.data.formats.mcap import McapBag
from pwm_core.data.formats.source import FormatError, import_sources
from pwm_core.tasks import UnknownTaskError, get_task

_SPEC = importlib.util.spec_from_file_location("bags", Path(__file__).with_name("bags.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
bags = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(bags)

TASK = get_task("cartpole-swingup")
Message = tuple[str, str, dict[str, Any]]


def observation(step: int, episode: int = 0, episode_step: int | None = None, **other) -> Message:
    fields = {
        "task": TASK.name,
        "episode": episode,
        "step": step,
        "episode_step": step - 1 if episode_step is None else episode_step,
        "layout_hash": TASK.observation.hash(),
        "data": [step, 1.0, 0.0, 0.0, 0.25],
        "reward": step / 10,
        "episode_return": 0.0,
        "terminated": False,
        "truncated": False,
    }
    return "observation", "Observation", fields | other


def action(step: int, value: float | None = None, **other) -> Message:
    fields = {
        "policy": "swinging",
        "policy_epoch": 0,
        "sequence": step,
        "observation_step": step,
        "safe": False,
        "names": list(TASK.action.names),
        "values": [step / 100 if value is None else value],
    }
    return "action", "Action", fields | other


def talk(*steps: int, **other) -> list[Message]:
    """Observations and their answers, and the observation after the last."""
    first = steps[0]
    said = [m for s in steps for m in (observation(s, episode_step=s - first, **other), action(s))]
    return [*said, observation(steps[-1] + 1, episode_step=len(steps), **other)]


def imported(tmp_path: Path, messages: list[Message]) -> Dataset:
    bag = bags.write_bag(tmp_path / "drive.mcap", messages)
    import_sources([McapBag(bag)], tmp_path / "data")
    data = Dataset(tmp_path / "data")
    data.validate()
    return data


def steps(data: Dataset) -> list[list[int]]:
    """Return the observation numbers of each episode."""
    return [data.observation[e.rows][:, 0].astype(int).tolist() for e in data.episodes]


def test_decisions_are_observation_answer_and_what_came_of_it(tmp_path: Path) -> None:
    data = imported(tmp_path, talk(1, 2, 3))
    (episode,) = data.episodes
    assert (episode.task, episode.behaviour, episode.length) == (TASK.name, "drive", 3)
    np.testing.assert_allclose(data.observation[:, 0], [1, 2, 3, 4])
    np.testing.assert_allclose(data.action[1:, 0], [0.01, 0.02, 0.03], rtol=1e-5)
    np.testing.assert_allclose(data.reward[1:], [0.2, 0.3, 0.4], rtol=1e-6)


def test_repeated_observations_and_second_answers_change_nothing(tmp_path: Path) -> None:
    said = talk(1, 2)
    noisy = [said[0], said[0], said[1], action(1, 0.9), said[2], said[3], said[2], said[4]]
    np.testing.assert_allclose(imported(tmp_path, noisy).action[1:, 0], [0.01, 0.02], rtol=1e-5)


def test_an_answer_recorded_before_its_observation(tmp_path: Path) -> None:
    first, answer, *rest = talk(1, 2)
    assert steps(imported(tmp_path, [answer, first, *rest])) == [[1, 2, 3]]


def test_an_answer_recorded_after_the_next_observation(tmp_path: Path) -> None:
    said = talk(*range(1, 21))
    for place in range(1, 38, 4):
        said[place], said[place + 1] = said[place + 1], said[place]
    assert steps(imported(tmp_path, said)) == [list(range(1, 22))]


def test_a_publisher_that_starts_again_counts_from_one(tmp_path: Path) -> None:
    data = imported(tmp_path, [*talk(*range(1, 15)), *talk(*range(1, 10))])
    assert steps(data) == [list(range(1, 16)), list(range(1, 11))]


@pytest.mark.parametrize(
    ("lost", "left"),
    [
        (4, [[1, 2], [4, 5, 6]]),  # the observation of step 3
        (5, [[1, 2, 3], [4, 5, 6]]),  # the answer to it
        (0, [[2, 3, 4, 5, 6]]),
    ],
)
def test_a_lost_message_splits_the_episode(lost: int, left: list, tmp_path: Path) -> None:
    said = talk(1, 2, 3, 4, 5)
    del said[lost]
    assert steps(imported(tmp_path, said)) == left


def test_episodes_end_where_the_publisher_says(tmp_path: Path) -> None:
    """The end is answered too, as in lockstep; the answer leads nowhere."""
    first, second = talk(1, 2), talk(4, 5, episode=1)
    first[-1][2]["terminated"] = True
    second[-1][2]["truncated"] = True
    data = imported(tmp_path, [*first, action(3), *second, action(6)])
    assert steps(data) == [[1, 2, 3], [4, 5, 6]]
    assert [(e.seed, e.terminated) for e in data.episodes] == [(0, True), (1, False)]


def test_robots_in_namespaces_are_kept_apart(tmp_path: Path) -> None:
    pairs = zip(talk(1, 2), talk(1, 2), strict=True)
    both = [(f"/{n}/{m[0]}", *m[1:]) for pair in pairs for n, m in zip("ab", pair, strict=True)]
    assert steps(imported(tmp_path, both)) == [[1, 2, 3], [1, 2, 3]]


def test_a_folder_of_files_is_one_bag(tmp_path: Path) -> None:
    said, folder = talk(1, 2, 3, 4), tmp_path / "drive"
    folder.mkdir()
    bags.write_bag(folder / "drive_0.mcap", said[:4])
    bags.write_bag(folder / "drive_1.mcap", said[4:])
    import_sources([McapBag(folder)], tmp_path / "data")
    assert steps(Dataset(tmp_path / "data")) == [[1, 2, 3, 4, 5]]


def test_commands_in_actuator_units_and_any_order(tmp_path: Path) -> None:
    names = list(TASK.action.names)
    said = talk(1, 2)
    said[1][2].update(names=names, values=[float(TASK.action.high[0])])
    assert imported(tmp_path, said).action[1, 0] == 1
    walker = get_task("walker-walk")
    values = np.linspace(walker.action.low, walker.action.high, 3)[1] + 0.25
    fields = {"task": walker.name, "layout_hash": walker.observation.hash()}
    fields["data"] = [0.0] * walker.observation.size
    said = talk(1, **fields)
    reverse = list(reversed(range(walker.action.size)))
    said[1][2].update(
        names=[walker.action.names[i] for i in reverse], values=[values[i] for i in reverse]
    )
    import_sources([McapBag(bags.write_bag(tmp_path / "w.mcap", said))], tmp_path / "walker")
    data = Dataset(tmp_path / "walker")
    np.testing.assert_allclose(walker.action.to_units(data.action[1]), values, rtol=1e-5)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([observation(1), observation(2)], "2 observations and 0 actions, expected at least"),
        ([action(1), action(2)], "0 observations and 2 actions"),
        ([observation(1), action(7), observation(2)], "none of 1 actions answers one of 2 obs"),
        (talk(1, layout_hash="0" * 16), r"observation step 1: layout_hash is 0{16}, task cartp"),
        ([observation(1), action(1, names=["x"]), observation(2)], r"names are \['x'\] with 1"),
        ([observation(1), action(1, values=[]), observation(2)], "with 0 values, expected"),
        ([observation(1), action(1, 1.5), observation(2)], r"episode 0: actions reach 1\.5"),
        (talk(1, data=[1.0, float("nan"), 0, 0, 0]), r"observation\[0, 1\] is not finite"),
        (talk(1, data=[1.0, 2.0]), r"observation is \(2, 2\), expected \(2, 5\)"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(
    messages: list[Message], message: str, tmp_path: Path
) -> None:
    bag = bags.write_bag(tmp_path / "odd.mcap", messages)
    with pytest.raises(FormatError, match=message) as caught:
        import_sources([McapBag(bag)], tmp_path / "data")
    assert "odd.mcap" in str(caught.value)


def import_words(file: Path, tmp_path: Path) -> list[str]:
    return ["data", "import", str(file), "--format", "mcap", "--out", str(tmp_path / "data")]


def test_a_file_cut_short_is_read_to_its_end(tmp_path: Path, capsys) -> None:
    """As a killed recorder leaves it: without an index, the last chunk not whole."""
    bag = bags.write_bag(tmp_path / "cut.mcap", talk(*range(1, 50)), chunk_size=4000)
    content = bag.read_bytes()
    bag.write_bytes(content[: len(content) // 2])
    assert main(import_words(bag, tmp_path)) == 0
    assert f"{bag} was not closed" in capsys.readouterr().out
    (episode,) = steps(Dataset(tmp_path / "data"))
    assert episode == list(range(1, len(episode) + 1))
    assert 10 < len(episode) < 40


def test_the_files_of_a_bag_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    said = talk(*range(1, 23))
    (tmp_path / "drive").mkdir()
    for number in range(12):
        part = said[number * 4 : number * 4 + 4]
        bags.write_bag(tmp_path / "drive" / f"drive_{number}.mcap", part)
    import_sources([McapBag(tmp_path / "drive")], tmp_path / "data")
    assert steps(Dataset(tmp_path / "data")) == [list(range(1, 24))]


def test_unknown_task_and_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = bags.write_bag(tmp_path / "t.mcap", talk(1, task="cartpole-swingop"))
    with pytest.raises(UnknownTaskError, match="did you mean cartpole-swingup"):
        McapBag(bag)
    text = tmp_path / "text.mcap"
    text.write_text("not a bag, but long enough to hold a magic number at either end")
    assert main(import_words(text, tmp_path)) == 2
    assert f"{text} is no MCAP file, or damaged" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match=r"empty holds no \.mcap file"):
        McapBag(tmp_path / "empty")
