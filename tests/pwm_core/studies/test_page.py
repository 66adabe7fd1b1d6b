# SPDX-License-Identifier: Apache-2.0
"""The page keeps what was written by hand when tables and plots are renewed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from pwm_core.errors import PwmError
from pwm_core.studies.page import begin_mark, end_mark, with_block, write_page
from pwm_core.studies.study import Result


def results(double: float) -> list[Result]:
    """One of the four cells."""
    figures = {"double": double, "returns": [1.0]}
    return [Result({"size": 1}, 0, figures, 61.0, "2026-11-21", "f" * 40, "a machine")]


def test_renewing_the_table_keeps_the_words_around_it(tmp_path: Path, counting: ModuleType) -> None:
    found = results(2.0)
    plots = counting.TOPIC.presets["quick"].draw(found)
    page = write_page(counting.TOPIC, "quick", found, plots, tmp_path)
    written = page.read_text().replace("Nothing was written yet.", "Twice as much, as claimed.")
    page.write_text(written + "\n## Afterword\n")
    write_page(counting.TOPIC, "quick", results(7.0), plots, tmp_path)
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


def test_presets_have_blocks_of_their_own() -> None:
    text = with_block(with_block("# Page\n", "quick", "one", Path("p")), "gpu", "two", Path("p"))
    renewed = with_block(text, "quick", "three", Path("p"))
    assert renewed == text.replace("one", "three")
    assert "two" in renewed


@pytest.mark.parametrize("mark", [begin_mark("quick"), end_mark("quick")])
def test_a_page_with_one_mark_is_refused(mark: str) -> None:
    with pytest.raises(PwmError, match=r"p\.md has only one of the lines"):
        with_block(f"# Page\n{mark}\n", "quick", "block", Path("p.md"))
