"""Least squares."""

import torch
from torch import Tensor


def ridge(inputs_NI: Tensor, wanted_NO: Tensor, amount: float) -> Tensor:
    """The I x O map nearest to what is wanted; `amount` is relative to the inputs' mean square."""
    squares = inputs_NI.T @ inputs_NI
    return solve(squares, inputs_NI.T @ wanted_NO, amount)


def solve(squares_II: Tensor, products_IO: Tensor, amount: float) -> Tensor:
    """The same from sums over samples."""
    eye = torch.eye(len(squares_II), dtype=squares_II.dtype)
    solved: Tensor = torch.linalg.solve(
        squares_II + amount * squares_II.diagonal().mean() * eye, products_IO
    )
    return solved
