# SPDX-License-Identifier: Apache-2.0
"""Films of episodes and live sessions: recorded positions, what was active, time, swaps.

These functions run in worker processes that :func:`pwm_core.rendering.use_renderer` has prepared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pwm_core.rendering import Recording, record_episode, render_positions, render_states

FILM_RATE = 25.0
"""Pictures per second: every second decision of a 50 Hz task."""
FILM_SIZE = 640, 360
SMALL_FILM_SIZE = 384, 216
"""Where there are many films on a page."""
FILM_SECONDS = 10.0
"""Longest film of an episode."""
GIF_SIZE = 320, 180
GIF_RATES = (12.5, 10.0, 5.0, 4.0, 2.5)
"""Pictures per second, tried until the file is small enough."""
GIF_COLOURS = 48, 16
"""Most frequent ones, and ones far from each other: small marks must keep their colours."""
COLOURS = ("#5aa9ff", "#ff8f5a", "#69db7c", "#da77f2", "#3bc9db", "#ffd43b")
"""Per policy in order of appearance; the series colours of ``report.css``, dark."""
BADGE_SECONDS = 1.2
"""How long a swap or reset stays marked."""


@dataclass(frozen=True)
class Marks:
    """What is drawn over the pictures of a recording."""

    recording: Recording
    names: tuple[str, ...]
    """Policies in the order of their colours, the same on the whole page."""

    def colour(self, policy: str) -> str:
        """Return the colour of a policy."""
        return COLOURS[self.names.index(policy) % len(COLOURS)]

    def badge(self, row: int) -> str:
        """Return what has just happened at moment ``row``; empty if nothing has."""
        now = self.recording.time[row]
        for column, text in (
            (self.recording.policy, f"swap ▸ {self.recording.policy[row]}"),
            (self.recording.episode, f"reset ▸ {self.recording.task[row]}"),
        ):
            changes = [i for i in self.recording.changes(column) if i <= row]
            if changes and now - self.recording.time[changes[-1]] < BADGE_SECONDS:
                return text
        return ""

    def draw(self, picture: np.ndarray, row: int) -> Image.Image:
        """Return ``picture`` with name, time, badge and the bar of the whole session."""
        image = Image.fromarray(picture)
        draw = ImageDraw.Draw(image, "RGBA")
        width, height = image.size
        unit = height / 270
        text, small = _font(max(11, round(15 * unit))), _font(max(10, round(13 * unit)))
        policy, margin = self.recording.policy[row], 10 * unit
        colour = self.colour(policy)
        line = max(13.0, 20 * unit)
        draw.rectangle((0, 0, width, margin + line + 2 * unit), fill=(8, 14, 22, 190))
        dot = 0.32 * line
        middle = (margin + line + 2 * unit) / 2
        draw.ellipse((margin, middle - dot, margin + 2 * dot, middle + dot), fill=colour)
        draw.text((margin + 3 * dot, middle), policy, "white", text, "lm")
        clock = f"{self.recording.time[row]:5.1f} s"
        draw.text((width - margin, middle), clock, "white", small, "rm")
        if badge := self.badge(row):
            _draw_badge(draw, badge, (width / 2, margin + 2.1 * line), colour, text)
        self._draw_bar(draw, row, width, height, max(4.0, 6 * unit))
        return image

    def _draw_bar(
        self, draw: ImageDraw.ImageDraw, row: int, width: int, height: int, thick: float
    ) -> None:
        time, policy = self.recording.time, self.recording.policy
        span = (time[-1] - time[0]) or 1.0
        edges = [0, *self.recording.changes(policy), len(policy) - 1]
        for begin, end in pairwise(edges):
            ends = [(time[i] - time[0]) / span * width for i in (begin, end)]
            fill = self.colour(policy[begin])
            draw.rectangle((ends[0], height - thick, ends[1], height), fill=fill)
        now = (time[row] - time[0]) / span * width
        draw.rectangle((now - 1, height - 2 * thick, now + 1, height), fill="white")


def _draw_badge(
    draw: ImageDraw.ImageDraw,
    text: str,
    centre: tuple[float, float],
    colour: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    left, top, right, bottom = draw.textbbox(centre, text, font, "mm")
    box = left - 8, top - 5, right + 8, bottom + 5
    draw.rounded_rectangle(box, 6, fill=(8, 14, 22, 225), outline=colour, width=2)
    draw.text(centre, text, colour, font, "mm")


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from matplotlib import font_manager

    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)


Draw = Callable[[list[int], tuple[int, int]], Iterator[np.ndarray]]
"""``draw(rows, (width, height))`` yields a picture of each of these moments of a recording."""


def pictures(marks: Marks, draw: Draw, rate: float, size: tuple[int, int]) -> Iterator[Image.Image]:
    """Yield the film's pictures, ``rate`` per second of simulated time."""
    rows = marks.recording.at(rate)
    for row, picture in zip(rows, draw(rows, size), strict=True):
        yield marks.draw(picture, row)


def write_film(marks: Marks, draw: Draw, out: Path, size: tuple[int, int] = FILM_SIZE) -> None:
    """Write an H.264 film that every browser plays."""
    import imageio_ffmpeg

    writer = imageio_ffmpeg.write_frames(
        str(out),
        size,
        fps=FILM_RATE,
        codec="libx264",
        pix_fmt_out="yuv420p",
        macro_block_size=2,
        output_params=["-crf", "24", "-preset", "fast", "-movflags", "+faststart"],
    )
    writer.send(None)
    try:
        for image in pictures(marks, draw, FILM_RATE, size):
            writer.send(image.tobytes())
    finally:
        writer.close()


def write_gif(marks: Marks, draw: Draw, out: Path, limit: int) -> None:
    """Write a looping GIF below ``limit`` bytes, with fewer pictures per second if need be."""
    images: list[Image.Image] = []
    for rate in GIF_RATES:
        images = list(pictures(marks, draw, rate, GIF_SIZE))
        palette = _palette(images)
        reduced = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
        reduced[0].save(
            out,
            save_all=True,
            append_images=reduced[1:],
            duration=round(1000 / rate),
            loop=0,
            optimize=True,
        )
        if out.stat().st_size <= limit:
            return


def _palette(images: list[Image.Image]) -> Image.Image:
    """Return one palette for all pictures, from a few of them."""
    chosen = images[:: max(1, len(images) // 12)]
    width, height = chosen[0].size
    sheet = Image.new("RGB", (width, height * len(chosen)))
    for index, image in enumerate(chosen):
        sheet.paste(image, (0, index * height))
    colours: list[int] = []
    methods = Image.Quantize.MEDIANCUT, Image.Quantize.MAXCOVERAGE
    for count, method in zip(GIF_COLOURS, methods, strict=True):
        colours += (sheet.quantize(count, method=method).getpalette() or [])[: 3 * count]
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours)
    return palette


def render_episode(
    policy_file: Path, seed: int, names: tuple[str, ...], size: tuple[int, int], out: Path
) -> dict[str, Any]:
    """Film the beginning of a real episode; return its ``return``, ``seconds`` and ``seed``."""
    import torch

    from pwm_core.evaluation.episodes import deterministic
    from pwm_core.extraction.store import TrainedPolicy
    from pwm_core.tasks import get_task

    torch.set_num_threads(1)
    trained = TrainedPolicy.load(policy_file)
    task = get_task(trained.task.name)
    environment = task.make_single(seed)
    try:
        act = deterministic(trained.policy)
        recording, states = record_episode(environment, task, act, task.name, seed)

        def draw(rows: list[int], size: tuple[int, int]) -> Iterator[np.ndarray]:
            return render_states(environment, states[rows], *size)

        write_film(Marks(recording.until(FILM_SECONDS), names), draw, out, size)
    finally:
        environment.close()
    return {
        "return": float(recording.reward.sum()),
        "seconds": float(recording.time[-1]),
        "seed": seed,
    }


def render_session(live: Path, names: tuple[str, ...], out: Path) -> dict[str, Any]:
    """Film the live session recorded in ``live``; return its ``seconds``."""
    with _session(live) as (recording, draw):
        write_film(Marks(recording, names), draw, out)
    return {"seconds": float(recording.time[-1] - recording.time[0])}


def render_session_gif(live: Path, names: tuple[str, ...], limit: int, out: Path) -> dict[str, Any]:
    """Make the small GIF of the live session; return its size in ``bytes``."""
    with _session(live) as (recording, draw):
        write_gif(Marks(recording, names), draw, out, limit)
    return {"bytes": out.stat().st_size}


@contextmanager
def _session(live: Path) -> Iterator[tuple[Recording, Draw]]:
    """Read a live session; it is drawn on its task's model from the positions of its joints."""
    from pwm_core.tasks import get_task

    recording = Recording.from_frames(json.loads(live.read_text())["frames"])
    environment = get_task(recording.task[0]).make_single(0)

    def draw(rows: list[int], size: tuple[int, int]) -> Iterator[np.ndarray]:
        return render_positions(environment, recording.joints, recording.positions[rows], *size)

    try:
        yield recording, draw
    finally:
        environment.close()
