"""Templates to text. They place, loop and branch over finished views; nothing is computed in them."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import jinja2

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
STYLE = "{BasedOnStyle: Google, IndentWidth: 4, AccessModifierOffset: -3, ColumnLimit: 120}"
FORMATTED = (".cu", ".cuh", ".cpp", ".hpp")


@cache
def environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - C++, not HTML; names are identifiers by type
    )


def render(template: str, **views: object) -> str:
    return environment().get_template(template).render(**views)
