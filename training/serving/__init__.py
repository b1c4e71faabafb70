"""What runs inside Triton, and what fetches a version for it. A version carries its own copy of this code."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line imports this package, and must not load numpy
    from numpy.typing import NDArray

Tensors = Mapping[str, "NDArray[Any]"]
