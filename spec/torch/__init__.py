"""Imports a PyTorch module as a spec that a person could have written, and its weights.

torch.export traces the module into ATen operators; those that the spec has no word for are decomposed by torch
itself. The calls are walked in order: what depends on constants alone is evaluated, the rest becomes layers, named
after their modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cnngen.spec.errors import ImportModelError

try:
    import torch
except ModuleNotFoundError as error:
    raise ImportModelError("PyTorch is not installed: pip install 'cnngen[torch]'") from error

from cnngen.spec.importing.patterns import simplify
from cnngen.spec.importing.write import network_name, write
from cnngen.spec.manifest import Array
from cnngen.spec.network import NetworkSpec
from cnngen.spec.torch.export import export
from cnngen.spec.torch.patterns import name_normalisations
from cnngen.spec.torch.rules import RULES
from cnngen.spec.torch.walk import walk

__all__ = ["import_torch"]


def import_torch(
    module: Callable[..., object],
    example_inputs: torch.Tensor | Sequence[object] | Mapping[str, object],
    name: str | None = None,
    batch_sizes: Sequence[int] | None = None,
    batched: bool | None = None,
) -> tuple[NetworkSpec, dict[str, Array]]:
    """The spec and the weights of a module, as it computes in eval mode.

    Args:
        module: a torch.nn.Module, or a function of tensors.
        example_inputs: a tensor, positional arguments in order, or arguments by name; their shapes and types are
            the network's.
        name: of the network; default: made from the module's class.
        batch_sizes: default: the example's own batch.
        batched: whether axis 0 of inputs and outputs is the batch; default: where no layer works along it.

    Raises:
        ImportModelError: torch cannot trace the module, or calls cannot be expressed: all of them, each with its
            module's path and the reason.
    """
    arguments: Sequence[object] = ()
    keywords: Mapping[str, object] = {}
    if isinstance(example_inputs, torch.Tensor):
        arguments = (example_inputs,)
    elif isinstance(example_inputs, Mapping):
        keywords = example_inputs
    else:
        arguments = tuple(example_inputs)
    imported = simplify(name_normalisations(walk(export(module, arguments, keywords, RULES))))
    title = name or network_name(getattr(module, "__name__", type(module).__name__).lower())
    return write(imported, title, batch_sizes, batched=batched, keep_names=True)
