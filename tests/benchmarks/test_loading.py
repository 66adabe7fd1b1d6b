# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import pytest

from benchmarks.loading import main
from pwm_export.bundle import BundleError


def test_a_row_per_bundle_and_one_without(make_bundle, capsys: pytest.CaptureFixture[str]) -> None:
    interval = sys.getswitchinterval()
    path = make_bundle("upright")
    assert main([str(path), "--rounds", "3", "--json"]) == 0
    none, loaded = json.loads(capsys.readouterr().out)
    assert (none["bundle"], loaded["bundle"]) == ("none", "upright")
    assert loaded["MB"] == pytest.approx(path.stat().st_size / 1e6)
    assert 0 < loaded["longest wait p50 ms"] <= loaded["longest wait max ms"]
    assert loaded["loading p50 ms"] > 0
    assert sys.getswitchinterval() == pytest.approx(interval)


def test_a_file_that_is_no_bundle_ends_it(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    before = threading.active_count()
    with pytest.raises(BundleError, match=r"bundle broken\.onnx"):
        main([str(tmp_path / "broken.onnx"), "--rounds", "1"])
    assert threading.active_count() == before
