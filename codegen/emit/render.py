"""Templates to text. They place, loop and branch over finished views; nothing is computed in them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import jinja2

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"


@cache
def environment() -> jinja2.Environment:
    """Jinja as every template is rendered: an unknown variable is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - C++, not HTML; names are identifiers by type
    )
    made.globals.clear()  # jinja's own would answer for a variable that a view lacks
    return made


def render(template: str, variables: Mapping[str, object]) -> str:
    """The text of a template over its variables."""
    return environment().get_template(template).render(variables)
