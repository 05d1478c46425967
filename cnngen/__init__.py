"""cnngen: from a declarative network spec to a C++ project for GPU or CPU, a Python module and a C++ library.

    import cnngen

    cnngen.build("spec.yaml")                     # generated/<name>/, compiled in place
    net = cnngen.load("generated/tiny").Network()

What stands here is the whole public Python API; the parts live in `cnngen.spec` (the users' language) and
`cnngen.codegen` (everything after it). Importing cnngen is quick: each function imports what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike
    from pathlib import Path
    from types import ModuleType
    from typing import Any

    import torch

    from cnngen.codegen.build import BuildResult
    from cnngen.spec import NetworkSpec
    from cnngen.spec.manifest import Array

__version__ = "0.1.0"
__all__ = ["Pipeline", "__version__", "build", "check", "generate", "import_torch", "load"]


def check(spec: str | PathLike[str]) -> NetworkSpec:
    """Read a spec and its weights, and prove that they fit together.

    Raises:
        SpecError: the spec is wrong; holds every problem with its file, line and column.
        WeightError: a weight is missing, misshapen or of the wrong type; holds all of them.
    """
    from cnngen.codegen.project import check_spec

    return check_spec(spec)


def generate(
    spec: str | PathLike[str],
    output: str | PathLike[str] = "generated",
    *,
    target: str = "auto",
    dump: str | PathLike[str] | None = None,
) -> Path:
    """Write the C++ project of a spec to `output`/<name>/, weights included, without compiling it.

    Args:
        spec: the YAML file.
        output: the folder that holds generated projects.
        target: what it is to run on: "cuda", "cpu", or "auto": CUDA where a GPU is, else the CPU.
        dump: a folder for the graph's text after every pass.

    Returns:
        The project's folder.

    Raises:
        CnngenError: spec, weights or disk; says where and what to do. Nothing is left half written.
    """
    from cnngen.codegen.architectures import choose_target
    from cnngen.codegen.project import generate_project

    return generate_project(spec, output, target=choose_target(target), dump=dump)


def build(
    spec: str | PathLike[str],
    output: str | PathLike[str] = "generated",
    *,
    target: str = "auto",
    arch: Sequence[str] | None = None,
) -> BuildResult:
    """Generate the project of a spec and compile it in place: the folder is then an importable package.

    Args:
        spec: the YAML file.
        output: the folder that holds generated projects.
        target: what it is to run on: "cuda", "cpu", or "auto": CUDA where a GPU is present or named in `arch`, else
            the CPU.
        arch: compute capabilities such as ["80", "90"]; default: the GPUs present, else every one supported. For the
            CPU, one name that g++ takes as -march; default: ["native"].

    Raises:
        CnngenError: as `generate`; also a toolchain that is not there and a compiler that failed.
    """
    from cnngen.codegen.architectures import choose_target
    from cnngen.codegen.build import build_project
    from cnngen.codegen.project import generate_project

    project = generate_project(spec, output, target=choose_target(target, arch))
    return build_project(project, archs=arch)


def load(project: str | PathLike[str]) -> ModuleType:
    """Import a built project from its folder, wherever that is.

    Returns:
        The module, as `import <name>` would with the folder's parent on the path.

    Raises:
        BuildError: the folder holds no built project.
    """
    from cnngen.codegen.loading import load_project

    return load_project(project)


def Pipeline(network: Any, contexts: int = 3) -> Any:  # noqa: ANN401, N802 (of any module, and named as what it makes)
    """A pipeline over a generated network: passes one after the other, whose copies and computation overlap.

    Args:
        network: the `Network` of any generated module.
        contexts: how many passes may be under way at a time.

    Returns:
        An instance of the module's own class `Pipeline`, which docs/python.md describes.
    """
    return network.pipeline(contexts)


def import_torch(
    module: Callable[..., object],
    example_inputs: torch.Tensor | Sequence[object] | Mapping[str, object],
    name: str | None = None,
    batch_sizes: Sequence[int] | None = None,
    batched: bool | None = None,
) -> tuple[NetworkSpec, dict[str, Array]]:
    """The spec and the weights of a PyTorch module, as it computes in eval mode. Needs torch.

    Args:
        module: a torch.nn.Module, or a function of tensors.
        example_inputs: a tensor, positional arguments in order, or arguments by name; their shapes and types are
            the network's.
        name: of the network; default: made from the module's class.
        batch_sizes: default: the example's own batch.
        batched: whether axis 0 of inputs and outputs is the batch; default: where no layer works along it.

    Returns:
        The spec, and the weights by their names in the state_dict. `cnngen.spec.dump_spec` and `save_weights` write
        them to files.

    Raises:
        ImportModelError: torch cannot trace the module, or calls cannot be expressed: all of them, each with its
            module's path and the reason.
    """
    from cnngen.spec.torch import import_torch

    return import_torch(module, example_inputs, name, batch_sizes, batched)
