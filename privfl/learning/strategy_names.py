"""Strategies by name: what each is in the literature, and why some cannot be had over secure sums."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from privfl.errors import ConfigurationError


class StrategyName(StrEnum):
    """What a strategy is called. None needs more of the clients than a sum of their updates."""

    FEDAVG = "fedavg"
    """McMahan, Moore, Ramage, Hampson, Agüera y Arcas, "Communication-Efficient Learning of Deep Networks from
    Decentralized Data", AISTATS 2017."""
    FEDPROX = "fedprox"
    """Clients are pulled back to the model that they received: Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, "Federated
    Optimization in Heterogeneous Networks", MLSys 2020."""
    FEDAVGM = "fedavgm"
    """The server has momentum: Hsu, Qi, Brown, arXiv:1909.06335, 2019."""
    FEDADAGRAD = "fedadagrad"
    """This one and the next two: Reddi et al., "Adaptive Federated Optimization", ICLR 2021."""
    FEDADAM = "fedadam"
    FEDYOGI = "fedyogi"
    FEDBUFF = "fedbuff"
    """Asynchronous, in buffers that are summed securely: Nguyen et al., "Federated Learning with Buffered Asynchronous
    Aggregation", AISTATS 2022."""


class Optimiser(StrEnum):
    """How the server steps along the mean update."""

    SGD = "sgd"
    MOMENTUM = "momentum"
    ADAGRAD = "adagrad"
    ADAM = "adam"
    YOGI = "yogi"


OPTIMISERS: Final[Mapping[StrategyName, Optimiser]] = MappingProxyType(
    {
        StrategyName.FEDAVG: Optimiser.SGD,
        StrategyName.FEDAVGM: Optimiser.MOMENTUM,
        StrategyName.FEDADAGRAD: Optimiser.ADAGRAD,
        StrategyName.FEDADAM: Optimiser.ADAM,
        StrategyName.FEDYOGI: Optimiser.YOGI,
    }
)
"""What a name fixes; the others leave the choice."""


def strategy_called(name: str) -> StrategyName:
    """Return the strategy of that name.

    Raises:
        ConfigurationError: there is none; where it could be none because it looks at single updates, it says so.

    >>> strategy_called("fedadam")
    <StrategyName.FEDADAM: 'fedadam'>
    """
    try:
        return StrategyName(name)
    except ValueError:
        pass
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if any(part in plain for part in _OF_SINGLE_UPDATES):
        raise ConfigurationError(
            f"strategy.name is {name!r}: 'fedavg' works; {name} compares single updates, which the server must never "
            f"see, and encoding.clip or privacy.clip bounds what one client can do to the sum"
        )
    offered = [repr(one.value) for one in StrategyName]
    raise ConfigurationError(f"strategy.name is {name!r}: {', '.join(offered[:-1])} or {offered[-1]} works")


_OF_SINGLE_UPDATES: Final = (
    "krum",
    "bulyan",
    "median",
    "geomed",
    "trim",
    "topk",
    "faba",
    "foolsgold",
    "fltrust",
    "zeno",
)
"""What names of robust aggregation have in common, small letters and digits alone: Blanchard et al. 2017 (Krum), El
Mhamdi et al. 2018 (Bulyan), Yin et al. 2018 (median, trimmed mean), Pillutla et al. 2022 (geometric median), Xia et al.
2019 (FABA), Fung et al. 2020 (FoolsGold), Cao et al. 2021 (FLTrust), Xie et al. 2019 (Zeno)."""
