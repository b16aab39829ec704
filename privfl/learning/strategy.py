"""What the server makes of the mean update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Weights = dict[str, npt.NDArray[np.float32]]


class FedAvg:
    """Federated averaging: the model moves by the weighted mean of the updates (McMahan et al., AISTATS 2017)."""

    def apply(self, weights: Mapping[str, npt.NDArray[Any]], mean: Mapping[str, npt.NDArray[Any]]) -> Weights:
        """Return the next global model: float32, the names and shapes of `weights`."""
        return {name: (weights[name] + mean[name]).astype(np.float32) for name in weights}
