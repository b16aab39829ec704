"""One line for each thing that was looked at, and a last one that counts them."""

from __future__ import annotations

import time
from collections.abc import Callable


class Results:
    """What came of a release's checks.

    Attributes:
        failed: what did not hold.
    """

    def __init__(self) -> None:
        self.failed: list[str] = []
        self._good = 0
        self._began = time.monotonic()

    def take(self, name: str, look: Callable[[], str | None]) -> bool:
        """Look at one thing: it holds unless an exception says why not; what is returned stands behind its name."""
        began = time.monotonic()
        try:
            said = look()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next check is made
            self.tell(name, f"{type(error).__name__}: {error}", good=False)
            return False
        self.tell(name, f"{said or ''} ({time.monotonic() - began:.1f} s)".strip(), good=True)
        return True

    def tell(self, name: str, said: str, *, good: bool) -> None:
        """Put down what came of one thing."""
        if good:
            self._good += 1
        else:
            self.failed.append(name)
        print(f"{'ok  ' if good else 'FAIL'} {name}: {said}", flush=True)

    def close(self) -> int:
        """Print the last line and return the exit code."""
        taken = time.monotonic() - self._began
        print(f"{self._good} ok, {len(self.failed)} failed ({taken:.0f} s)", *self.failed, sep="\n  ", flush=True)
        return 1 if self.failed else 0
