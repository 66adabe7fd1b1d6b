# SPDX-License-Identifier: Apache-2.0
"""The page keeps what was written by hand when tables and plots are renewed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from pwm_core.errors import PwmError
from pwm_core.studies.page import (
    begin_mark,
    command,
    end_mark,
    generated,
    with_block,
    write_page,
)
from pwm_core.studies.study import Inputs, Result


def results(double: float, *cost: float) -> list[Result]:
    """One of the four cells; ``cost`` is processor time and load."""
    figures = {"double": double, "returns": [1.0]}
    return [Result({"size": 1}, 0, figures, 61.0, "2026-11-21", "f" * 40, "a machine", *cost)]


def test_renewing_the_table_keeps_the_words_around_it(tmp_path: Path, counting: ModuleType) -> None:
    found = results(2.0)
    plots = counting.TOPIC.presets["quick"].draw(found)
    page = write_page(counting.TOPIC, "quick", Inputs(), found, plots, tmp_path)
    written = page.read_text().replace("Nothing was written yet.", "Twice as much, as claimed.")
    page.write_text(written + "\n## Afterword\n")
    write_page(counting.TOPIC, "quick", Inputs(), results(7.0), plots, tmp_path)
    text = page.read_text()
    assert "Twice as much, as claimed." in text
    assert text.rstrip().endswith("## Afterword")
    assert "| 1 | 7 |" in text
    assert "| 1 | 2 |" not in text
    assert "pwm study counting --preset quick" in text
    assert "2026-11-21 on a machine, revision ffffffffff: 1 cells, 1:01" in text
    assert "**3 cells are missing.**" in text
    assert "(counting-quick-doubles.png)" in text
    assert (tmp_path / "counting-quick-doubles.png").stat().st_size > 1000


def test_the_command_on_the_page_names_inputs_from_elsewhere(counting: ModuleType) -> None:
    reading = replace(counting.TOPIC, tasks_read=lambda study: (), reads_world_model=True)
    elsewhere = Inputs(Path("runs/ten/data"), Path("model.safetensors"))
    assert command(reading, "full", Inputs()) == "pwm study counting --preset full"
    assert command(counting.TOPIC, "full", elsewhere) == "pwm study counting --preset full"
    assert command(reading, "quick", elsewhere) == (
        "pwm study counting --preset quick --data runs/ten/data --world-model model.safetensors"
    )


def test_the_page_tells_processor_time_and_load_where_all_cells_have_them(
    counting: ModuleType,
) -> None:
    known = [*results(1.0, 30.0, 2.0), *results(1.0, 40.0, 6.5)]
    text = generated(counting.TOPIC, "quick", Inputs(), known, [])
    assert "2 cells, 1:10 (min:s) of processor time, 2:02 by the clock" in text
    assert "at a load average of 2.0 to 6.5." in text
    assert "processor time" not in generated(
        counting.TOPIC, "quick", Inputs(), [*known, *results(1.0)], []
    )


def test_presets_have_blocks_of_their_own() -> None:
    text = with_block(with_block("# Page\n", "quick", "one", Path("p")), "gpu", "two", Path("p"))
    renewed = with_block(text, "quick", "three", Path("p"))
    assert renewed == text.replace("one", "three")
    assert "two" in renewed


@pytest.mark.parametrize("mark", [begin_mark("quick"), end_mark("quick")])
def test_a_page_with_one_mark_is_refused(mark: str) -> None:
    with pytest.raises(PwmError, match=r"p\.md has only one of the lines"):
        with_block(f"# Page\n{mark}\n", "quick", "block", Path("p.md"))
