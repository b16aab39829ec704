"""Whether there is a broker to test with; importing this needs nothing that may be missing."""

import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "consortium"
sys.path.append(str(EXAMPLE))
from broker import MOSQUITTO, Mosquitto  # noqa: E402 - lies in the example

__all__ = ["EXAMPLE", "Mosquitto", "needs_mosquitto"]

needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="no mosquitto to talk through: `apt-get install mosquitto` brings it"
)
