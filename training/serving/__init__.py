"""What runs inside Triton, and what fetches it there; a version carries its own copy of this code."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]
