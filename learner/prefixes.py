"""Families of named tensors in one mapping, each under a prefix: how states share a file."""

from collections.abc import Mapping

from torch import Tensor


def put_under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, their names behind ``prefix``."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors behind ``prefix``, by the names they had before."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
