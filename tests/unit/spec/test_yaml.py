# ruff: noqa: E501, ISC004 (messages stand here as the user reads them)
"""Loading: every problem with its position and exact text, all at once; writing: as a person would."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from textwrap import dedent

import pytest

from cnngen.spec import SpecError, dump_spec, load_spec, parse_spec
from cnngen.spec.ops import ACTIVATIONS, OPS
from cnngen.spec.yaml_nodes import is_plain, parse

TINY = """\
name: tiny
inputs:
  image: {shape: [1, 3, 32, 32], layout: NCHW, dtype: float32}
precision: float16
batch_sizes: [1, 8]
weights: tiny.safetensors
layers:
  - {name: conv1, op: conv2d, out_channels: 16, kernel: 3, padding: 1, activation: relu}
  - {name: pool, op: max_pool2d, kernel: 2}
  - {name: up, op: upsample, scale: 2}
  - {name: both, op: add, inputs: [conv1, up]}
  - {name: edge, op: conv2d, out_channels: 8, kernel: [1, 3], padding: [0, 1], groups: 2, bias: false}
  - {name: even, op: conv2d, out_channels: 8, kernel: 3, stride: 2, padding: [0, 0, 1, 1], weight: w, bias: b}
  - {name: tf, op: conv2d, out_channels: 8, kernel: 3, padding: same, activation: {op: leaky_relu, slope: 0.2}}
  - {name: norm, op: batch_norm, epsilon: 1.0e-07, precision: {storage: float32, tf32: true}}
  - {name: "no", op: sub, value: 1.0, reverse: true, precision: float32}
  - {name: flat, op: flatten}
  - {name: fc, op: linear, out_features: 10}
  - {name: prob, op: softmax}
outputs: [prob, {layer: conv1, layout: NHWC, dtype: float16}]
"""

HEAD = "name: net\ninputs:\n  x: {shape: [1, 3, 8, 8]}\nlayers:\n"


def problems(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "s.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_text_is_written_as_it_was_read() -> None:
    assert dump_spec(parse_spec(TINY)) == TINY


def test_profiles_are_written_one_a_line() -> None:
    text = HEAD.replace("layers:", "profiles:\n  - {x: [1, 3, 16, 16]}\n  - {x: [1, 3, 24, 16]}\nlayers:") + (
        "  - {name: a, op: relu}\n"
    )
    spec = parse_spec(text)
    assert spec.profiles == ({"x": (1, 3, 16, 16)}, {"x": (1, 3, 24, 16)})
    assert parse_spec(dump_spec(spec)) == spec
    assert "profiles:\n  - {x: [1, 3, 16, 16]}\n  - {x: [1, 3, 24, 16]}\n" in dump_spec(spec)


def test_wrong_profiles_are_located() -> None:
    text = HEAD.replace("layers:", "profiles:\n  - {x: [1, 3, 0, 16]}\nlayers:") + "  - {name: a, op: relu}\n"
    assert problems(text) == ["s.yaml:5:16: profiles[0].x[2]: must be at least 1, got 0"]
    assert problems(text.replace("0, 16", "8, 8")) == [
        "s.yaml:4:1: profile 1 is profile 0 (the inputs' own shapes) again; the batch does not tell profiles apart"
    ]


def test_loads_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY, encoding="utf-8")
    assert load_spec(tmp_path / "tiny.yaml").name == "tiny"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path / "none.yaml")
    assert str(caught.value) == f"{tmp_path}/none.yaml: cannot read the spec: No such file or directory"
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9t\xe9")
    with pytest.raises(SpecError, match="not a text in UTF-8: byte 6 is invalid continuation byte"):
        load_spec(tmp_path / "latin.yaml")


def test_scalars_are_those_of_yaml_1_2() -> None:
    data, _ = parse(
        '{a: 1e-5, b: yes, c: off, d: 0x10, e: 1.5, f: "1", g: 012, h: ~, i: 1:30, j: .inf, k: 2001-01-01}',
        "f",
    )
    assert data == {
        "a": 1e-5, "b": "yes", "c": "off", "d": 16, "e": 1.5, "f": "1", "g": 12, "h": None, "i": "1:30",
        "j": float("inf"), "k": "2001-01-01",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "plain"),
    [("conv1", True), ("layer1.0.conv1", True), ("/a/b", False), ("no", False), ("1e5", False), ("true", False),
     ("a:b", False), ("a b", False), ("", False), ("null", False), ("é", False), ("-", False), ("2001-01-01", False)],
)  # fmt: skip
def test_what_needs_quotes(text: str, plain: bool) -> None:
    assert is_plain(text) is plain


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("{name: a, op: conv2d, out_channels: 4, kernal: 3}",
         ["s.yaml:5:5: layer 'a': field 'kernel' is missing",
          "s.yaml:5:44: layer 'a': unknown field 'kernal' (did you mean 'kernel'?); allowed: name, op, input, inputs, "
          "out_channels, kernel, stride, padding, dilation, groups, weight, bias, activation, precision"]),
        ("{name: a, op: max_pool, kernel: 2}",
         ["s.yaml:5:19: layer 'a': unknown op 'max_pool' (did you mean 'max_pool2d'?); allowed: "
          + ", ".join(OPS)]),
        ("{name: a}", ["s.yaml:5:5: layer 'a': field 'op' is missing"]),
        ("conv", ["s.yaml:5:5: expected a mapping, got 'conv'"]),
        ("{name: a, op: conv2d, out_channels: '4', kernel: 3}",
         ["s.yaml:5:41: layer 'a': out_channels: expected a whole number, got '4'"]),
        ("{name: a, op: conv2d, out_channels: 4, kernel: [3, 0]}",
         ["s.yaml:5:56: layer 'a': kernel[1]: must be at least 1, got 0"]),
        ("{name: a, op: conv2d, out_channels: 4, kernel: 3, bias: 1}",
         ["s.yaml:5:61: layer 'a': bias: expected true, false or the name of a tensor, got 1"]),
        ("{name: a, op: conv2d, out_channels: 4, kernel: 3, activation: rellu}",
         ["s.yaml:5:67: layer 'a': unknown activation 'rellu' (did you mean 'relu'?); allowed: "
          + ", ".join(cls.model_fields["op"].default for cls in ACTIVATIONS)]),
        ("{name: a, op: conv2d, out_channels: 4, kernel: 3, activation: {op: elu, alfa: 2}}",
         ["s.yaml:5:77: layer 'a': unknown field 'alfa' (did you mean 'alpha'?); allowed: op, alpha"]),
        ("{name: a, op: relu, relu: 3}",
         ["s.yaml:5:25: layer 'a': unknown field 'relu'; allowed: name, op, input, inputs, precision"]),
        ("{name: a, op: relu, precision: half}",
         ["s.yaml:5:36: layer 'a': precision: expected 'float32', 'float16' or 'bfloat16', got 'half'"]),
        ("{name: a, op: relu, precision: {storage: float64}}",
         ["s.yaml:5:46: layer 'a': precision.storage: expected 'float32', 'float16' or 'bfloat16', got 'float64' "
          "(did you mean 'float16'?)"]),
        ("{name: a, op: relu, name: b}", ["s.yaml:5:25: 'name' stands twice, first in line 5"]),
        ("{name: a, op: relu, input: y}",
         ["s.yaml:5:32: layer 'a': reads 'y', which is neither a layer nor a network input"]),
        ("{name: a, op: conv2d, out_channels: 4, kernel: 9}",
         ["s.yaml:5:12: layer 'a': conv2d: a 9x9 window does not fit into the padded input: 8x8, 8x8 without padding; "
          "input: 'x' [1, 3, 8, 8]"]),
        ("{name: a, op: max_pool2d, stride: 2}", ["s.yaml:5:5: layer 'a': field 'kernel' is missing"]),
    ],
)  # fmt: skip
def test_a_layers_problems(layer: str, expected: list[str]) -> None:
    assert problems(f"{HEAD}  - {layer}\n") == expected


def test_the_networks_problems_all_at_once() -> None:
    text = dedent("""\
        name: my-net
        inputs:
          x: {shape: [1, 3, "8", 8], layout: HWC}
          1: {shape: []}
        precision: fp16
        batch_sizes: [8, 8]
        weights: ../../etc/weights.safetensors
        layer: []
        layers: []
        outputs: [x, 3]
        """)
    assert problems(text) == ["s.yaml:4:3: a key must be a text, got 1; put it in quotes"]
    assert problems(text.replace("  1:", "  z:")) == [
        "s.yaml:1:7: name: 'my-net' cannot name a network: only ASCII letters, digits and '_' are allowed, and a letter "
        "must come first; 'my_net' would do",
        "s.yaml:3:21: inputs.x.shape[2]: expected a whole number, got '8'",
        "s.yaml:3:38: inputs.x.layout: expected 'NCHW' or 'NHWC', got 'HWC' (did you mean 'NHWC'?)",
        "s.yaml:4:14: inputs.z.shape: needs at least 1 entry, got []",
        "s.yaml:5:12: precision: expected 'float32', 'float16' or 'bfloat16', got 'fp16'",
        "s.yaml:6:14: batch_sizes: each batch size may stand once, got [8, 8]",
        "s.yaml:7:10: weights: expected a .safetensors, .manifest or .txt file in the spec's folder or below it, "
        "got '../../etc/weights.safetensors'",
        "s.yaml:8:1: unknown field 'layer' (did you mean 'layers'?); allowed: name, inputs, precision, batched, "
        "batch_sizes, profiles, weights, layers, outputs",
        "s.yaml:9:9: layers: needs at least 1 entry, got []",
        "s.yaml:10:14: outputs[1]: expected a layer's name or {layer: ..., layout: ..., dtype: ...}, got 3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/x.safetensors", "a/../../x.safetensors", "x.pt", "C:\\x.safetensors", "a\nb.txt"]
)
def test_weights_stay_in_the_specs_folder(path: str) -> None:
    text = f"name: net\nweights: {path!r}\n" if "\n" not in path else 'name: net\nweights: "a\\nb.txt"\n'
    assert any("expected a .safetensors, .manifest or .txt file" in problem for problem in problems(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: [1, 2\nx: 3\n", "s.yaml:2:2: YAML syntax: expected ',' or ']', but got ':' (while parsing a flow sequence "
         "that begins in line 1)"),
        ("a: b: c\n", "s.yaml:1:5: YAML syntax: mapping values are not allowed here"),
        ("", "s.yaml: the file is empty"),
        ("- a\n", "s.yaml:1:1: expected a mapping: name, inputs, layers, ..."),
        ("a: &x 1\nb: *x\n", "s.yaml:2:4: YAML syntax: aliases are not allowed here; write the value out"),
        ("name: !!python/object:os.system x\n", "s.yaml:1:7: YAML syntax: the tag 'tag:yaml.org,2002:python/object:os.system' is not allowed"),
        ("a: 1\n---\nb: 2\n", "s.yaml:2:1: YAML syntax: but found another document (expected a single document in the "
         "stream that begins in line 1)"),
        ("a: \x01\n", "s.yaml: not a YAML text: special characters are not allowed"),
        ("[" * 5000, "s.yaml: nested too deeply"),
    ],
)  # fmt: skip
def test_yaml_itself(text: str, expected: str) -> None:
    assert problems(text) == [expected]


def test_a_problem_at_one_of_the_batch_sizes() -> None:
    text = "name: net\ninputs:\n  x: {shape: [1, 4]}\nbatch_sizes: [1, 2]\nlayers:\n  - {name: a, op: reshape, shape: [1, 4]}\n"
    assert problems(text) == [
        "s.yaml:6:12: layer 'a': reshape: [2, 4] has 8 elements, which do not fill [1, 4]; input: 'x' [2, 4]"
    ]


def test_mangled_texts_are_a_spec_or_problems_with_positions() -> None:
    random = Random(0)  # noqa: S311 (a seed that repeats)
    words = re.findall(r"\w+|\W", TINY)
    marks = [
        "{",
        "}",
        "[",
        ":",
        ",",
        "\n",
        "  ",
        "- ",
        "null",
        "-1",
        "1e400",
        "9" * 20,
        '"',
        "&a",
        "*a",
        "!!int",
        "|",
        "%",
        "\t",
        "\x00",
        "é",
    ]
    for _ in range(600):
        mangled = list(words)
        for _ in range(random.randint(1, 3)):
            place = random.randrange(len(mangled))
            mangled[place : place + random.randint(0, 3)] = random.choices(
                marks + words, k=random.randint(0, 2)
            )
        try:
            spec = parse_spec("".join(mangled), "s.yaml")
        except SpecError as error:
            assert all(str(problem).startswith("s.yaml") for problem in error.problems)  # noqa: PT017
        else:
            assert parse_spec(dump_spec(spec)).name == spec.name
