"""Names that are safe to write into C++: an identifier by type, and the mapping of any text to one."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Iterable

_VALID = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CPP_KEYWORDS = _words("""
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t
    char32_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
    constinit continue decltype default delete do double dynamic_cast else enum explicit export extern
    false final float for friend goto if import inline int long module mutable namespace new noexcept
    not not_eq nullptr operator or or_eq override private protected public register reinterpret_cast
    requires return short signed sizeof static static_assert static_cast struct switch template this
    thread_local throw true try typedef typeid typename union unsigned using virtual void volatile
    wchar_t while xor xor_eq
""")
# Macros of the C and CUDA headers, which no namespace hides, and namespaces that generated code speaks of.
_MACROS = _words("""
    assert errno stdin stdout stderr linux unix i386 major minor makedev I complex NULL EOF INFINITY NAN
    BUFSIZ RAND_MAX isnan isinf isfinite signbit fpclassify setjmp offsetof va_start va_end va_arg
    va_copy std cuda cudnn cublas cnngen pybind11 py main
""")
_REFUSED = _CPP_KEYWORDS | _MACROS | frozenset(keyword.kwlist)

# Functions of libc in the global namespace: a namespace of that name would not compile.
_LIBC = _words("""
    abort abs accept access alarm asin atan atoi bind brk calloc ceil chdir close connect cos dup exit
    exp fabs floor fork free getenv getpid index j0 j1 jn kill link listen log malloc nice open pause
    pipe pow printf puts qsort raise rand read realloc remove rename rindex rmdir round send sin sleep
    socket sqrt srand strlen sync system tan tanh times truncate umask unlink vfork wait write y0 y1 yn
""")


class CppIdentifier(str):
    """A name that may be written into C++ and Python source; it exists only if it is valid.

    Valid: ASCII letters, digits and single underscores, a letter first; no keyword of C++20 or Python, no
    macro of the C headers. Raises ValueError with the reason.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> CppIdentifier:
        """Takes the text as it is, or raises ValueError."""
        reason = _why_not(text)
        if reason:
            raise ValueError(f"{text!r} is no C++ identifier: {reason}")
        return super().__new__(cls, text)


def _why_not(text: str) -> str | None:
    if not _VALID.match(text):
        return "only ASCII letters, digits and '_' are allowed, and a letter must come first"
    if "__" in text:
        return "two underscores in a row are reserved"
    if text in _REFUSED:
        return "the word is reserved in C++, Python or the generated code"
    return None


def sanitize(text: str, fallback: str = "layer") -> CppIdentifier:
    """The identifier nearest to `text`: `layer1.0.conv1` -> `layer1_0_conv1`, `1x1` -> `layer_1x1`."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")
    if not name:
        name = fallback
    if name[0].isdigit():
        name = f"{fallback}_{name}"
    return CppIdentifier(f"{name}_" if name in _REFUSED else name)


def identifiers(names: Iterable[str], reserved: Iterable[str] = ()) -> dict[str, CppIdentifier]:
    """Maps each name to an identifier of its own, the same for the same names in the same order.

    A name that already is a free identifier keeps it, whatever others are mapped to; later ones get `_2`, ...
    `reserved`: identifiers that the surrounding code has taken.
    """
    originals = list(dict.fromkeys(names))
    taken = set(reserved)
    result: dict[str, CppIdentifier] = {}
    for name in originals:
        if _why_not(name) is None and name not in taken:
            result[name] = CppIdentifier(name)
            taken.add(name)
    for name in originals:
        if name in result:
            continue
        wanted = sanitize(name)
        candidate, number = wanted, 2
        while candidate in taken:
            candidate, number = CppIdentifier(f"{wanted.rstrip('_')}_{number}"), number + 1
        result[name] = candidate
        taken.add(candidate)
    return {name: result[name] for name in originals}


def module_name(text: str) -> CppIdentifier:
    """`text` as the name of a network: at once a C++ namespace, a Python module and a folder.

    Raises ValueError with the reason and a name that would do.
    """
    reason = _why_not(text)
    if reason is None and text in _LIBC:
        reason = "a C library function has this name, a namespace cannot"
    if reason is None and text in {*sys.stdlib_module_names, "numpy", "torch"}:
        reason = f"it would hide the Python module {text!r}"
    if reason is None:
        return CppIdentifier(text)
    suggestion = sanitize(text, "net").rstrip("_")
    if (
        suggestion == text
        or suggestion in _LIBC
        or suggestion in sys.stdlib_module_names
        or suggestion in _REFUSED
    ):
        suggestion = f"{suggestion}_net"
    raise ValueError(f"{text!r} cannot name a network: {reason}; {suggestion!r} would do")
