# SPDX-License-Identifier: Apache-2.0
"""TD-MPC2's files: those of real tensordict versions, and bad ones."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from pwm_core.cli import main
from pwm_core.data.dataset import Dataset, DatasetError, DatasetWriter
from pwm_core.data.formats.source import FormatError, import_sources
from pwm_core.data.formats.tdmpc2 import TdMpc2File, read_tensors
from pwm_core.tasks import all_tasks
from pwm_core.tasks.published_tasks import PUBLISHED_TASKS

FILES = Path(__file__).with_name("tdmpc2")
REAL = sorted(FILES.glob("tensordict-*.pt"))


def tensors(episodes: int = 3, rows: int = 9) -> dict[str, torch.Tensor]:
    """A mapping like TD-MPC2's: row 0's action and reward are NaN."""
    generator = torch.Generator().manual_seed(0)
    made = {
        "obs": torch.zeros(episodes, rows, 24),
        "action": torch.zeros(episodes, rows, 6),
        "reward": torch.rand(episodes, rows, generator=generator),
        "task": torch.tensor([10, 8] * episodes)[:episodes, None].expand(-1, rows).clone(),
    }
    made["obs"][..., :5] = torch.randn(episodes, rows, 5, generator=generator)
    made["action"][..., :1] = torch.rand(episodes, rows, 1, generator=generator) * 2 - 1
    made["action"][:, 0] = made["reward"][:, 0] = torch.nan
    return made


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_there_are_files_of_old_and_new_tensordicts() -> None:
    assert len(REAL) == 4


@pytest.mark.parametrize("file", REAL, ids=lambda f: f.stem)
def test_a_real_file_is_imported_number_by_number(file: Path, tmp_path: Path) -> None:
    import_sources([TdMpc2File(file)], tmp_path / "data")
    stored, data = read_tensors(file), Dataset(tmp_path / "data")
    data.validate()
    assert [(e.task, e.seed, e.length) for e in data.episodes] == [
        ("cartpole-swingup", 0, 8),
        ("cartpole-balance", 1, 8),
        ("cartpole-swingup", 2, 8),
    ]
    assert data.widths == (5, 1)
    for episode in data.episodes:
        rows = episode.rows
        np.testing.assert_array_equal(data.observation[rows], stored["obs"][episode.seed, :, :5])
        np.testing.assert_array_equal(data.action[rows][1:], stored["action"][episode.seed, 1:, :1])
        np.testing.assert_array_equal(data.reward[rows][1:], stored["reward"][episode.seed, 1:])


def test_tensordict_itself_is_not_imported() -> None:
    import sys

    read_tensors(REAL[0])
    assert "tensordict" not in sys.modules


def test_the_tasks_are_numbered_as_in_the_source() -> None:
    names = PUBLISHED_TASKS["mt80"]
    assert (len(names), len(set(names))) == (80, 80)
    assert set(names[:30]) == {task.name for task in all_tasks("mt30")}
    assert (names[0], names[10], names[29]) == ("walker-stand", "cartpole-swingup", "pendulum-spin")
    assert (names[30], names[79]) == ("mw-assembly", "mw-hand-insert")


def test_a_plain_dictionary_and_one_task_number_per_episode(tmp_path: Path) -> None:
    content = tensors()
    content["task"] = content["task"][:, 0]
    import_sources([TdMpc2File(saved(tmp_path / "plain.pt", content))], tmp_path / "data")
    assert Dataset(tmp_path / "data").episodes.tasks == ["cartpole-swingup", "cartpole-balance"]


def test_a_file_of_one_task_needs_its_name(tmp_path: Path) -> None:
    content = tensors()
    del content["task"]
    path = saved(tmp_path / "one.pt", content)
    with pytest.raises(FormatError, match=r"one\.pt has no task numbers: .* --task"):
        TdMpc2File(path)
    import_sources([TdMpc2File(path, "cartpole-balance")], tmp_path / "data")
    assert Dataset(tmp_path / "data").episodes.tasks == ["cartpole-balance"]


def test_terminations_are_kept(tmp_path: Path) -> None:
    content = tensors()
    content["terminated"] = torch.zeros(3, 9)
    content["terminated"][:, 0] = torch.nan
    content["terminated"][1, -1] = 1
    import_sources([TdMpc2File(saved(tmp_path / "t.pt", content))], tmp_path / "data")
    assert [e.terminated for e in Dataset(tmp_path / "data").episodes] == [False, True, False]
    content["terminated"][2, 4] = 1
    source = TdMpc2File(saved(tmp_path / "u.pt", content))
    with pytest.raises(FormatError, match="episode 2: terminated at row 4, expected at row 8"):
        import_sources([source], tmp_path / "other")


class Malicious:
    """Runs a command when it is unpickled carelessly."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self._command,)


def test_code_in_a_file_is_named_and_does_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace"
    content = tensors() | {"extra": Malicious(f"touch {trace}")}
    path = saved(tmp_path / "bad.pt", content)
    torch.load(path, weights_only=False)
    assert trace.exists(), "the file is as bad as it should be"
    trace.unlink()
    words = ["data", "import", str(path), "--format", "tdmpc2", "--out", str(tmp_path / "data")]
    assert main(words) == 2
    assert f"{path} is refused: loading it would run {os.system.__module__}.system" in (
        capsys.readouterr().err
    )
    assert not trace.exists()
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["obs"][1, :, :5].fill_(torch.nan),
            r"episode 1: observation\[0, 0\] is not finite",
        ),
        (lambda c: c["reward"][2, 3:].fill_(torch.inf), r"episode 2: reward\[2\] is not finite"),
        (lambda c: c["action"][1, 4].fill_(1.5), r"action\[4, 1\] is 1\.5, expected zeros beyond"),
        (lambda c: c["action"][1, 4, :1].fill_(1.5), r"reach 1\.5, .* action\[3, 0\] = 1\.5"),
        (lambda c: c["obs"][0, 0, 7].fill_(2), r"episode 0: obs\[0, 7\] is 2, expected zeros"),
        (lambda c: c["task"][1].fill_(80), "episode 1: task is 80, expected 0 to 79"),
        (lambda c: c.update(obs=c["obs"][..., :4]), "obs has 4 entries, cartpole-.* needs 5"),
        (lambda c: c.update(obs=c["obs"][0]), r"obs is \(9, 24\), expected \[episodes, rows"),
        (lambda c: c.update(obs=c["obs"][:2]), r"obs is \(2, 9, 24\), reward is \(3, 9\)"),
        (lambda c: c.pop("action"), "action is None, expected .*; the file has obs, reward, task"),
    ],
)
def test_bad_numbers_name_file_episode_and_value(change, message: str, tmp_path: Path) -> None:
    content = tensors()
    change(content)
    path = saved(tmp_path / "odd.pt", content)
    with pytest.raises(FormatError, match=message) as caught:
        import_sources([TdMpc2File(path)], tmp_path / "data")
    assert str(path) in str(caught.value)


def test_what_is_no_such_file(tmp_path: Path) -> None:
    whole = REAL[0].read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pt").write_text("not a file of torch")
    for name in ("cut.pt", "text.pt"):
        with pytest.raises(FormatError, match=rf"{name} .*truncated"):
            read_tensors(tmp_path / name)
    with pytest.raises(FormatError, match=r"lazy-0\.2\.1\.pt is a lazy stack of TensorDicts"):
        read_tensors(FILES / "lazy-0.2.1.pt")
    with pytest.raises(FormatError, match="holds a Tensor, expected named tensors"):
        read_tensors(saved(tmp_path / "tensor.pt", torch.zeros(3)))


def test_an_interrupted_import_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One episode per block; the interrupt comes before the third."""
    monkeypatch.setattr("pwm_core.data.writer.BLOCK_BYTES", 1)
    path = saved(tmp_path / "five.pt", tensors(5))
    extend = DatasetWriter.extend

    def interrupted(writer: DatasetWriter, block: list) -> list:
        if len(writer.episodes) == 2:
            raise KeyboardInterrupt
        return extend(writer, block)

    with monkeypatch.context() as patch:
        patch.setattr(DatasetWriter, "extend", interrupted)
        with pytest.raises(KeyboardInterrupt):
            import_sources([TdMpc2File(path)], tmp_path / "data")
    assert len(Dataset(tmp_path / "data").episodes) == 2
    import_sources([TdMpc2File(path)], tmp_path / "data")
    import_sources([TdMpc2File(path)], tmp_path / "straight")
    for name in ("episodes.jsonl", "observation.f32", "action.f32", "reward.f32"):
        mine, other = tmp_path / "data" / name, tmp_path / "straight" / name
        assert mine.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("number", [0, 2])
def test_a_file_that_changed_since_is_told(number: int, tmp_path: Path) -> None:
    content = tensors()
    path = saved(tmp_path / "a.pt", content)
    import_sources([TdMpc2File(path)], tmp_path / "data")
    content["reward"][number, 5] += 1
    path.unlink()
    with pytest.raises(DatasetError, match=rf"a episode {number} is not that of .*a\.pt"):
        import_sources([TdMpc2File(saved(path, content))], tmp_path / "data")


def test_a_file_that_became_shorter_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", tensors(3))
    import_sources([TdMpc2File(path)], tmp_path / "data")
    shorter = {name: tensor[:2].clone() for name, tensor in tensors(3).items()}
    path.unlink()
    with pytest.raises(DatasetError, match=r"a episode 2 is not that of .*a\.pt, which has 2: the"):
        import_sources([TdMpc2File(saved(path, shorter))], tmp_path / "data")


def test_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    paths = [saved(p, tensors()) for p in (tmp_path / "a.pt", tmp_path / "b" / "a.pt")]
    with pytest.raises(FormatError, match=r"several files are called \['a'\]"):
        import_sources([TdMpc2File(path) for path in paths], tmp_path / "data")


def test_memory_holds_a_block_not_the_file(tmp_path: Path) -> None:
    """The tensors are maps of the file: 60 MB are opened with hardly any memory."""
    episodes = 1000
    content = {
        "obs": torch.zeros(episodes, 501, 24),
        "action": torch.zeros(episodes, 501, 6)[:, :, :1],
        "reward": torch.zeros(episodes, 501),
        "task": torch.full((episodes,), 8),
    }
    path = saved(tmp_path / "large.pt", content)
    del content
    before = anonymous_bytes()
    source = TdMpc2File(path)
    next(source.trajectories(iter([episodes - 1])))
    assert source.episodes == episodes
    assert anonymous_bytes() - before < 10e6


def anonymous_bytes() -> int:
    """Memory of this process that is no map of a file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024
