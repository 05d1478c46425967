"""Templates place, loop and branch; whatever has to be computed is computed before, and tested there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes

from cnngen.codegen.emit.render import TEMPLATES, environment, render

FILES = sorted(TEMPLATES.rglob("*.j2"))
SHAPE = {"Template", "Extends", "Block", "Output", "TemplateData", "For", "If"}
SHAPE |= {"Name", "Getattr", "Const", "Keyword", "Operand", "Not"}
# A choice between two words, an item, and filters that only arrange: each looked at below.
LOOKED_AT = {"CondExpr", "Compare", "Getitem", "Filter"}
FILTERS = {"join", "indent", "replace", "length", "map", "last"}


def walk(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for child in node.iter_child_nodes():
        yield from walk(child)


def problems(source: str) -> list[str]:
    """Every place where a template does more than it may, with its line."""
    found = []
    for line, text in enumerate(source.splitlines(), 1):
        # `{{x` and `{{{` read like C++; an initializer is written `{ {{ x }} }`, and clang-format closes the gaps.
        found += [
            f"{line}: {match}" for match in re.findall(r"\{\{(?! )\S*|\S*(?<! )\}\}|\{\{ \"[{}]\" \}\}", text)
        ]
    for node in walk(environment().parse(source)):
        name = type(node).__name__
        bad = name not in SHAPE | LOOKED_AT
        match node:
            case nodes.TemplateData(data=data):
                bad = "{{" in data or "}}" in data
            case nodes.Filter(name=name):
                bad = name not in FILTERS
            case nodes.Compare(expr=expr, ops=[nodes.Operand(expr=nodes.Const())]):
                bad = not (isinstance(expr, nodes.Filter) and expr.name == "length")
            case nodes.Compare():
                bad = True
            case nodes.CondExpr(expr1=nodes.Const(), expr2=nodes.Const()):
                bad = False
            case nodes.CondExpr():
                bad = True
            case nodes.Getitem(arg=arg):
                bad = not isinstance(arg, nodes.Const | nodes.Name)
        if bad:
            found.append(f"{node.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_is_computed_in_a_template(path: Path) -> None:
    assert problems(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("{% set x = 1 %}", "Assign"),
        ("{{ a + 1 }}", "Add"),
        ("{{ a * b }}", "Mul"),
        ("{{ a ~ b }}", "Concat"),
        ("{{ a - b }}", "Sub"),
        ("{{ f(a) }}", "Call"),
        ("{{ a.f() }}", "Call"),
        ("{{ a | upper }}", "upper"),
        ("{{ a | sum }}", "sum"),
        ("{% if a == b %}{% endif %}", "Compare"),
        ("{% if a > 3 %}{% endif %}", "Compare"),
        ("{% if a is defined %}{% endif %}", "Test"),
        ("{{ a if b else c }}", "CondExpr"),
        ("{{ a[b.c] }}", "Getitem"),
        ("{% macro m() %}{% endmacro %}", "Macro"),
        ("{% include 'other' %}", "Include"),
        ("int x[] = {{{ a }}};", "{{{"),
        ("{{a }}", "{{a"),
        ("{{ a}}", "a}}"),
        ('{{ "{" }}{{ a }}', '{{ "{" }}'),
    ],
)
def test_the_rule_finds_what_it_forbids(source: str, what: str) -> None:
    try:
        found = problems(source)
    except jinja2.TemplateSyntaxError:
        found = [what]  # jinja refuses it itself
    assert any(what in problem for problem in found), found


def test_an_unknown_variable_is_an_error() -> None:
    assert environment().undefined is jinja2.StrictUndefined
    for source in (
        "{{ absent }}",
        "{{ range }}",
        "{% for x in absent %}{% endfor %}",
        "{% if absent %}{% endif %}",
    ):
        with pytest.raises(jinja2.UndefinedError):
            environment().from_string(source).render({})
    with pytest.raises(jinja2.UndefinedError):
        render("cuda/kernels.cuh.j2", {"notice": "n", "name": "tiny"})


def test_every_template_is_used() -> None:
    emit = TEMPLATES.parent / "codegen" / "emit"
    text = "".join(path.read_text() for path in [*emit.glob("*.py"), *FILES])
    used = set(re.findall(r'"([\w./]+\.j2)"', text))
    # A target's own are named by their folder and, sources, by their name.
    text = (emit / "project.py").read_text()
    own = {path for path in FILES if path.parent != TEMPLATES}
    own = {p for p in own if f'{{target}}/{p.name}"' in text or f'"{p.stem}"' in text}
    assert used >= {str(path.relative_to(TEMPLATES)) for path in FILES if path not in own}
