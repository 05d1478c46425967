"""The users' language: the models of a spec, loading with exact errors, weight files, importers."""

from __future__ import annotations

from cnngen.spec.errors import CnngenError, ImportModelError, Problem, ShapeError, SpecError, WeightError
from cnngen.spec.names import CppIdentifier, identifiers
from cnngen.spec.network import InputSpec, NetworkSpec, OutputSpec
from cnngen.spec.resolve import Resolved, ResolvedLayer, WeightRef, resolve
from cnngen.spec.types import DType, Precision, Shape, TensorLayout
from cnngen.spec.weights import check_weights, load_weights, save_weights
from cnngen.spec.yaml_io import dump_spec, load_spec, parse_spec

__all__ = [
    "CnngenError",
    "CppIdentifier",
    "DType",
    "ImportModelError",
    "InputSpec",
    "NetworkSpec",
    "OutputSpec",
    "Precision",
    "Problem",
    "Resolved",
    "ResolvedLayer",
    "Shape",
    "ShapeError",
    "SpecError",
    "TensorLayout",
    "WeightError",
    "WeightRef",
    "check_weights",
    "dump_spec",
    "identifiers",
    "load_spec",
    "load_weights",
    "parse_spec",
    "resolve",
    "save_weights",
]
