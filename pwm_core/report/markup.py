# SPDX-License-Identifier: Apache-2.0
"""Pieces of the page. Text given to these functions is escaped here; only ``body`` is HTML."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template

from pwm_core.report.charts import SERIES


def section(title: str, body: str, anchor: str) -> str:
    """Return a section of the page."""
    return f'<section id="{escape(anchor)}"><h2>{escape(title)}</h2>{body}</section>'


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def note(missing: str, command: str) -> str:
    """Return the remark that something is not there, and the command that makes it."""
    return f'<p class="note">{escape(missing)} Made by: <code>{escape(command)}</code></p>'


def warning(text: str) -> str:
    """Return a remark that must not be overlooked."""
    return f'<p class="warning">{escape(text)}</p>'


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """Return a table; columns of numbers, other than the first, are right-aligned."""
    right = {
        index
        for index in range(len(columns))
        if index and all(_is_number(row[index]) for row in rows)
    }

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f'<{tag} class="n">{escape(cell)}</{tag}>'
            if index in right
            else f"<{tag}>{escape(cell)}</{tag}>"
            for index, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    css = ' class="narrow"' if len(columns) < 4 else ""
    return (
        f'<figure class="table"><div class="scroll"><table{css}>'
        f"<thead><tr>{cells('th', columns)}</tr></thead><tbody>{body}</tbody></table></div>"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _is_number(cell: str) -> bool:
    return cell in ("", "–") or cell.lstrip("±+−-≤<")[:1].isdigit()


def figure(
    content: str, caption: str, legend: Sequence[tuple[str, int]] = (), wide: bool = False
) -> str:
    """Return ``content`` (SVG or video) with its caption; ``legend`` is (name, series colour)."""
    keys = "".join(
        f'<span class="key"><i class="s{colour % SERIES}"></i>{escape(name)}</span>'
        for name, colour in legend
    )
    shown = f'<div class="legend">{keys}</div>' if keys else ""
    css = ' class="wide"' if wide else ""
    inner = f'<div class="scroll">{content}</div>' if wide else content
    return f"<figure{css}>{inner}<figcaption>{shown}{escape(caption)}</figcaption></figure>"


def grid(figures: Sequence[str]) -> str:
    """Return figures beside each other where there is room."""
    return f'<div class="grid">{"".join(figures)}</div>'


def stage(first: str, others: Sequence[str]) -> str:
    """Return one large figure with ``others`` small beside it where there is room."""
    return f'<div class="stage">{first}<div>{"".join(others)}</div></div>'


def tiles(entries: Sequence[tuple[str, str, str]]) -> str:
    """Return the figures to see first: (what, value, remark)."""
    return '<div class="tiles">{}</div>'.format(
        "".join(
            f'<div class="tile"><span class="what">{escape(what)}</span>'
            f"<b>{escape(value)}</b><span>{escape(remark)}</span></div>"
            for what, value, remark in entries
        )
    )


def video(data: bytes, label: str) -> str:
    """Return an H.264 film that plays by itself, embedded."""
    return (
        f'<video autoplay muted loop controls playsinline aria-label="{escape(label)}" '
        f'src="data:video/mp4;base64,{base64.b64encode(data).decode()}"></video>'
    )


def page(title: str, header: str, sections: Sequence[str]) -> str:
    """Return the whole document."""
    files = resources.files("pwm_core.report")
    template = Template((files / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        css=(files / "report.css").read_text(encoding="utf-8"),
        header=header,
        body="\n".join(sections),
    )
