# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.monitor`` runs on a bundle with a monitor; no time is judged here."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import monitor
from pwm_export.bundle import Bundle


@pytest.fixture
def plain(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle("balance")


@pytest.fixture
def watched(plain: Path, make_monitor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle that loads with the monitor of an integrator, which a still cart-pole resembles."""
    whole = dataclasses.replace(Bundle.load(plain), monitor=make_monitor(window=25, threshold=0.02))
    monkeypatch.setattr(monitor.Bundle, "load", lambda path: whole)
    return plain


def test_prints_and_writes_its_figures(
    watched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(monitor, "DISTURBANCES", ({"sensor_bias": 0.5}, {"sensor_noise": 0.0}))
    monkeypatch.setattr(monitor, "ONSETS", (0.0, 4.0))
    file = tmp_path / "figures.json"
    asked = [str(watched), "--minutes", "0.05", "--seeds", "1", "--json", str(file)]
    assert monitor.main(asked) == 0
    assert "balance: delay, s" in capsys.readouterr().out
    tables = json.loads(file.read_text())["balance"]
    assert [row["late by"] for row in tables["nominal"]] == [0.0, 0.5, 1.0]
    assert tables["nominal"][0]["nominal minutes"] == 0.05
    biased, undisturbed = tables["delay, s"]
    assert 0 < biased["at 4 s"] <= monitor.WATCHED
    assert math.isinf(undisturbed["at 4 s"])
    assert tables["cost"][0]["monitor / decision"] > 0


def test_a_bundle_without_a_monitor_is_named(
    plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        monitor.main([str(plain)])
    assert "balance.onnx has no monitor: export it with --world-model" in capsys.readouterr().err
