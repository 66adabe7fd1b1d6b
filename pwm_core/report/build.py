# SPDX-License-Identifier: Apache-2.0
"""Put the page together."""

from __future__ import annotations

from pwm_core.report.markup import page, section
from pwm_core.report.run_files import RunFiles
from pwm_core.report.sections.data import data, provenance, stage_times
from pwm_core.report.sections.evaluation import evaluation
from pwm_core.report.sections.headline import headline
from pwm_core.report.sections.learning import policies, world_model
from pwm_core.report.sections.ros import ros
from pwm_core.report.sections.videos import videos
from pwm_core.report.studio import Films


def build_page(run: RunFiles, films: Films) -> str:
    """Return the report on ``run`` as one self-contained HTML document."""
    parts = [
        ("videos", "Videos", videos(run, films)),
        ("evaluation", "Returns in the real simulator", evaluation(run)),
        ("ros", "ROS 2", ros(run)),
        ("world-model", "World model", world_model(run)),
        ("policies", "Policy extraction", policies(run)),
        ("data", "Data", data(run)),
        ("times", "Time per stage", stage_times(run)),
        ("provenance", "Provenance", provenance(run)),
    ]
    header = headline(run, [(anchor, title) for anchor, title, _ in parts])
    body = [section(title, content, anchor) for anchor, title, content in parts]
    return page(f"PWM Deploy: {run.path.resolve().name}", header, body)
