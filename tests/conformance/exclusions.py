"""Which of ONNX's cases cnngen refuses, and why. Each is held to be refused: one that is not must leave the list."""

from __future__ import annotations

import re

import onnx

from .cases import Case, element_types

T = onnx.TensorProto
TYPES = {T.FLOAT, T.FLOAT16, T.BFLOAT16, T.INT32, T.INT64, T.UINT8, T.BOOL}

# Operators that are not of CNN inference, or that cnngen refuses by design.
OPERATORS = {
    "recurrent": "GRU LSTM RNN",
    "control flow on data": "LinearAttention Loop Scan",
    "sequences and optional values": "OptionalGetElement OptionalHasElement SequenceInsert SequenceMap SplitToSequence",
    "quantised arithmetic": (
        "ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul QuantizeLinear"
    ),
    "random numbers": "Bernoulli RandomUniformLike",
    "strings, files and text": "ImageDecoder RegexFullMatch StringConcat StringNormalizer StringSplit TfIdfVectorizer",
    "the size of the result depends on data": "Compress NonMaxSuppression NonZero Unique",
    "writes where data says": "Scatter ScatterElements ScatterND TensorScatter",
    "signal processing and algebra beyond CNNs": "CumProd CumSum DFT Det Einsum MelWeightMatrix STFT",
    "bits": "BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor",
    "not of CNN inference": ("Col2Im DeformConv EyeLike GatherND OneHot ReverseSequence RoiAlign TopK"),
}

# Cases by name, where the operator is supported.
NAMES = {
    "three axes of space": "gridsample_volumetric|convtranspose_3d|affine_grid_3d(_align_corners)?$|Conv3d",
    "training": "training_dropout_default|training_dropout(_mask)?$|batchnorm_.*_training_mode",
    "a tensor without elements": (
        "_empty_set|split_zero_size_splits|shape_start_greater_than_end|slice_start_out_of_bounds"
        "|reshape_allowzero_reordered|tri[ul]_zero|conv_with_state_kernel_size_one"
    ),
    "nothing is left to run: no input is data": (
        "range_(float|int32|float16|bfloat16)_type|constantofshape|constant$|(blackman|hamming|hann)window|if$|maxpool_2d_uint8"
    ),
    "whole numbers that wrap or are truncated": "(add|div|max|min|mod|mul|sub)_uint8|div_int32_trunc",
    "a float64 or a smaller type within": "gqa_rank4_mask",
    "the result's type is the second operand's power of integers": "pow_types_int",
    "sizes that keep the aspect ratio and are rounded": "resize_downsample_sizes_nearest_not_smaller",
    "an opset before 6": "not_[234]d",
}


def reason(case: Case) -> str | None:
    """Why a case is excluded; None where it is not."""
    graph = case.model.graph
    if any(kind not in TYPES for kind in element_types([*graph.input, *graph.output])):
        return "a type that cnngen refuses"
    if any(node.domain not in ("", "ai.onnx") for node in graph.node):
        return "operators of other domains"
    by_name = (why for why, pattern in NAMES.items() if re.search(pattern, case.name))
    used = {node.op_type for node in graph.node}
    by_operator = (why for why, operators in OPERATORS.items() if not used.isdisjoint(operators.split()))
    return next(by_name, None) or next(by_operator, None)
