"""Settings for all tests."""

import os

from hypothesis import HealthCheck, Phase, settings

# Derandomised: a test run says the same thing every time. `make fuzz`-like runs set HYPOTHESIS_PROFILE=explore.
settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.register_profile(
    "explore", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow], database=None
)
# For planted mutants: a failure is all that counts, its smallest form does not.
settings.register_profile("mutant", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# Under CI and BUILD_NUMBER, pytest writes the whole difference of two unequal sequences; of two vectors of a megabyte
# that takes hours, and a failing test becomes one that hangs.
for name in ("CI", "BUILD_NUMBER"):
    os.environ.pop(name, None)
