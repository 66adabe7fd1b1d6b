# SPDX-License-Identifier: Apache-2.0
"""Films of the policies and of the live session."""

from __future__ import annotations

from pwm_core.report import commands
from pwm_core.report.film import FILM_SECONDS
from pwm_core.report.markup import figure, grid, note, paragraph, stage, video
from pwm_core.report.run_files import RunFiles
from pwm_core.report.studio import Films


def videos(run: RunFiles, films: Films) -> str:
    """Return the films that could be made, and why others could not."""
    session, episodes = "", []
    if films.session:
        seconds = films.session.facts["seconds"]
        caption = (
            f"Live session over ROS 2, {seconds:.1f} s at real speed, drawn from the joint "
            "positions published on joint_states. Colour and bar show the policy that acted."
        )
        session = figure(video(films.session.data, "live session"), caption)
    for task, film in films.episodes.items():
        facts = film.facts
        part = f"; its first {FILM_SECONDS:.0f} s" if facts["seconds"] > FILM_SECONDS else ""
        caption = (
            f"{task}: one episode of the extracted policy in the real simulator, seed "
            f"{facts['seed']}, return {facts['return']:.0f}, {facts['seconds']:.0f} s{part}."
        )
        episodes.append(figure(video(film.data, task), caption))
    parts = [stage(session, episodes) if session and episodes else grid([session, *episodes])]
    parts += [paragraph(problem) for problem in films.problems]
    if not run.live:
        missing = "No live session was recorded."
        parts.append(note(missing, commands.session(run.path, "live")))
    if not any(run.policy_file(task) for task in run.policies):
        parts.append(note("No policy has been extracted.", commands.extract(run.path)))
    return "".join(parts)
