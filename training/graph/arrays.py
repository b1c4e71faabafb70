"""Arrays of torch or of numpy: features are written once, for both. Training and export use torch, the server numpy.

Both libraries have `log1p`, `where`, `stack`, `concatenate`, `sqrt`, `amin`, `full_like` with positional axes, and
arrays with `sum(axis, dtype=…)`, `any`, `clip` and slices.
"""

from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = Any  # a Tensor or an NDArray


def library(array: Array) -> ModuleType:
    """The library that an array is of."""
    return torch if isinstance(array, torch.Tensor) else np


def double(array: Array) -> Array:
    """The same numbers in float64."""
    return array.double() if isinstance(array, torch.Tensor) else array.astype(np.float64)


def there(mask: Array) -> tuple[Array, ...]:
    """The indices where a mask is true, by axis."""
    return torch.nonzero(mask, as_tuple=True) if isinstance(mask, torch.Tensor) else np.nonzero(mask)


def single(array: Array) -> NDArray[np.float32]:
    """The same numbers in float32, by numpy."""
    made: NDArray[np.float32] = array.float().cpu().numpy() if isinstance(array, torch.Tensor) else array.astype("f4")
    return made
