"""Which strategies a secure sum can serve: those that see nothing of replies but their weighted mean."""

from __future__ import annotations

from typing import Final

from flwr.serverapp import strategy as strategies
from flwr.serverapp.strategy import FedAvg, Strategy

from privfl.errors import ConfigurationError

LINEAR: Final = ("FedAvg", "FedProx", "FedAvgM", "FedAdagrad", "FedAdam", "FedYogi", "FedOpt")
_WHY_NOT: Final = {
    "Krum": "it compares single updates with each other",
    "MultiKrum": "it compares single updates with each other",
    "Bulyan": "it compares single updates with each other",
    "FedMedian": "a median needs every single update",
    "FedTrimmedAvg": "trimming needs every single update",
    "QFedAvg": "it weighs every single update by its own loss",
    "FedXgbBagging": "it joins trees, and adds nothing up",
    "FedXgbCyclic": "it passes one node's trees on to the next, and adds nothing up",
}
_WITH_NOISE: Final = {
    "DifferentialPrivacyServerSideFixedClipping": "it clips every single update at the server",
    "DifferentialPrivacyServerSideAdaptiveClipping": "it clips every single update at the server",
    "DifferentialPrivacyClientSideAdaptiveClipping": "it reads a bit of every single update",
    "DifferentialPrivacyClientSideFixedClipping": "its noise is made for the exact mean of equally weighted updates; "
    "here it would be handed a mean of rounded updates, by weights that it cannot see: one node can move that further",
}
_OWN: Final = ("aggregate_train", "aggregate_evaluate", "_check_and_log_replies")


def check_linear(strategy: Strategy, *, vouched: bool = False) -> None:
    """Raise unless a strategy is known to see no more of replies than their weighted mean.

    Args:
        strategy: it.
        vouched: whether somebody says so. For strategies that claim differential privacy nobody can: what they claim
            would not hold.

    Raises:
        ConfigurationError: it is not; says why.
    """
    kind = type(strategy)
    _check_claim(kind)
    if vouched:
        return
    for one in kind.__mro__:
        if one.__name__ in _WHY_NOT and one.__module__.startswith("flwr."):
            raise ConfigurationError(
                f"strategy {kind.__name__} cannot work on sums: {_WHY_NOT[one.__name__]}. Use one of "
                f"{', '.join(LINEAR)}"
            )
    known = [getattr(strategies, name) for name in LINEAR if hasattr(strategies, name)]
    base = next((one for one in kind.__mro__ if one in known or one.__name__ == "FedOpt"), None)
    if base is None:
        raise ConfigurationError(
            f"strategy {kind.__name__} is not known to see nothing of replies but their weighted mean: use one of "
            f"{', '.join(LINEAR)}, or say linear=True if it does"
        )
    for name in _OWN:
        if getattr(kind, name, None) is not getattr(base, name, None):
            raise ConfigurationError(
                f"strategy {kind.__name__} has a {name} of its own, which sees one and the same mean in every reply: "
                f"say linear=True if it needs no more"
            )
    ordinary = FedAvg()
    for name in ("train_metrics_aggr_fn", "evaluate_metrics_aggr_fn"):
        if getattr(strategy, name, None) is not getattr(ordinary, name, None):
            raise ConfigurationError(
                f"{name} of strategy {kind.__name__} is a function of its own, which sees one and the same mean in "
                f"every reply: leave it out, or say linear=True if it needs no more"
            )


def _check_claim(kind: type[Strategy]) -> None:
    """Refuse strategies whose own claim of privacy would not hold.

    Raises:
        ConfigurationError: it is one.
    """
    for one in kind.__mro__:
        if one.__name__ in _WITH_NOISE and one.__module__.startswith("flwr."):
            raise ConfigurationError(
                f"what strategy {kind.__name__} claims would not hold: {_WITH_NOISE[one.__name__]}. Leave it out, and "
                f"say privacy=ClientDistributed(…) instead: nodes clip, and add noise inside the sum"
            )
