"""The federated loop: jobs, data, trainers, cohorts, strategies, rounds, checkpoints."""

from privfl.learning.checkpoint import load_model as load_model

__all__ = ["load_model"]
