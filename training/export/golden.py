"""Golden requests: real rows with the model's offline answers. A pod that repeats the answers serves that model.

`golden.json`: `{"format": 1, "tolerance", "exchanges": [{"model", "inputs": [tensor], "outputs": [tensor]}]}`, where a
tensor is `{"name", "datatype", "shape", "data"}` as in the KServe v2 protocol, flat.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from training.outcome import Permanent

FORMAT = 1
REQUESTS = "requests.json"  # the same of a version's test rows, for the shadow stage
TOLERANCE = 1e-5
Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Exchange:
    """One request to one Triton model, and the answer computed offline."""

    model: str
    inputs: Tensors
    outputs: Tensors


@dataclass(frozen=True)
class Golden:
    """The exchanges of a version. Numbers may differ by `tolerance`; all other values must be equal."""

    exchanges: tuple[Exchange, ...]
    tolerance: float = TOLERANCE

    def as_dict(self) -> dict[str, Any]:
        """Returns the contents of golden.json."""
        exchanges = [
            {"model": exchange.model, "inputs": _tensors(exchange.inputs), "outputs": _tensors(exchange.outputs)}
            for exchange in self.exchanges
        ]
        return {"format": FORMAT, "tolerance": self.tolerance, "exchanges": exchanges}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Golden":
        """Parses golden.json.

        Raises:
            Permanent: it is unreadable, or has no exchange and so could verify nothing.
        """
        try:
            if record["format"] != FORMAT:
                raise ValueError(f"format {record['format']!r}, readable is {FORMAT}")
            exchanges = tuple(
                Exchange(str(record["model"]), tensors_from(record["inputs"]), tensors_from(record["outputs"]))
                for record in record["exchanges"]
            )
            if not exchanges:
                raise ValueError("it holds no exchange")
            return cls(exchanges, float(record["tolerance"]))
        except (KeyError, TypeError, ValueError) as error:
            raise Permanent(f"golden.json cannot be used: {type(error).__name__}: {error}") from error


def _tensors(tensors: Tensors) -> list[dict[str, Any]]:
    return [
        {"name": name, "datatype": np_to_triton_dtype(values.dtype), "shape": list(values.shape), "data": _flat(values)}
        for name, values in tensors.items()
    ]


def _flat(values: NDArray[Any]) -> list[Any]:
    flat: list[Any] = values.ravel().tolist()
    return [item.decode() for item in flat] if values.dtype == np.object_ else flat


def tensors_from(record: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """Returns the arrays of a request's tensors by name. Raises KeyError, TypeError or ValueError."""
    return {tensor["name"]: _tensor(tensor) for tensor in record}


def _tensor(tensor: Mapping[str, Any]) -> NDArray[Any]:
    data = tensor["data"]
    if tensor["datatype"] == "BYTES":
        values = np.array([item.encode() for item in data], dtype=np.object_)
    else:
        values = np.array(data, dtype=triton_to_np_dtype(tensor["datatype"]))
    return values.reshape(tensor["shape"])
