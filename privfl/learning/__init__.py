"""The federated loop: jobs, data, trainers, cohorts, strategies, rounds, checkpoints."""
