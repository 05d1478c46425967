# ruff: noqa: E501, ISC004 (messages stand here as the user reads them)
from __future__ import annotations

import keyword
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnngen.spec.names import CppIdentifier, identifiers, module_name, sanitize


@pytest.mark.parametrize("text", ["conv1", "layer1_0", "A", "fc_"])
def test_valid_identifiers_are_kept(text: str) -> None:
    assert CppIdentifier(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "1x1", "_x", "a__b", "a-b", "a b", "class", "lambda", "co_await", "and", "std", "errno", "conv\n", "é",
     '"; system("rm -rf /"); //', "../../x", "a/*"],
)  # fmt: skip
def test_what_is_no_identifier_cannot_be_one(text: str) -> None:
    with pytest.raises(ValueError, match="is no C\\+\\+ identifier"):
        CppIdentifier(text)


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("layer1.0.conv1", "layer1_0_conv1"),
        ("1x1", "layer_1x1"),
        ("class", "class_"),
        ("__init__", "init"),
        ('"; system("x', "system_x"),
        ("../../x", "x"),
        ("日本", "layer"),
    ],
)
def test_sanitize(text: str, identifier: str) -> None:
    assert sanitize(text) == identifier


def test_collisions_get_numbers_and_identifiers_keep_their_name() -> None:
    assert identifiers(["a.b", "a_b", "a-b", "a_b_2"]) == {
        "a.b": "a_b_3",
        "a_b": "a_b",
        "a-b": "a_b_4",
        "a_b_2": "a_b_2",
    }
    assert identifiers(["forward", "x"], reserved=["forward"]) == {"forward": "forward_2", "x": "x"}


@given(st.lists(st.text(max_size=6)), st.lists(st.sampled_from(["a", "b", "layer"])))
def test_identifiers_are_valid_distinct_and_repeatable(names: list[str], reserved: list[str]) -> None:
    result = identifiers(names, reserved)
    assert list(result) == list(dict.fromkeys(names))
    assert len({*result.values(), *reserved}) == len(result) + len(set(reserved))
    for identifier in result.values():
        assert isinstance(identifier, CppIdentifier)
        assert re.fullmatch("[A-Za-z][A-Za-z0-9_]*", identifier)
        assert not keyword.iskeyword(identifier)
    assert identifiers(names, reserved) == result


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("my-net", "'my-net' cannot name a network: only ASCII letters, digits and '_' are allowed, and a letter "
         "must come first; 'my_net' would do"),
        ("class", "'class' cannot name a network: the word is reserved in C++, Python or the generated code; "
         "'class_net' would do"),
        ("json", "'json' cannot name a network: it would hide the Python module 'json'; 'json_net' would do"),
        ("exp", "'exp' cannot name a network: a C library function has this name, a namespace cannot; 'exp_net' would do"),
        ("3d", "'3d' cannot name a network: only ASCII letters, digits and '_' are allowed, and a letter must come "
         "first; 'net_3d' would do"),
    ],
)  # fmt: skip
def test_network_names(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="cannot name a network") as caught:
        module_name(text)
    assert str(caught.value) == message
    suggestion = re.findall("'([^']*)' would do", message)[0]
    assert module_name(suggestion) == suggestion
