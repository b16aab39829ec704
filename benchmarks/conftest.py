"""At smoke size, pytest-benchmark calls what it measures a few times only."""

from sessions import SMOKE


def pytest_configure(config):
    if SMOKE:
        config.option.benchmark_max_time = 0.001
        config.option.benchmark_min_rounds = 1
