"""Runs tests on mutated copies of the package, each in a process of its own that is forked from this one.

What others wrote is imported here, once: torch alone takes longer than most of the tests. The package itself never is,
so that each process imports the copy that it is told. A line of JSON in, a line of JSON out.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import tempfile
import warnings
from pathlib import Path

_OTHERS = (
    "numpy",
    "scipy.stats",
    "scipy.special",
    "scipy.optimize",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cryptography.hazmat.primitives.asymmetric.x25519",
    "cryptography.hazmat.primitives.ciphers.aead",
    "msgspec",
    "jinja2",
    "rich.console",
    "torch",
    "sklearn.datasets",
    "tenseal.sealapi",
    "dp_accounting.pld.privacy_loss_distribution",
    "opacus.accountants",
    "opacus.grad_sample",
    "opacus.optimizers",
    "opacus.validators",
    "flwr.clientapp.mod",
    "flwr.serverapp.strategy",
    "flwr.common.serde",
    "unittest.mock",
    "pytest",
    "hypothesis",
    "_hypothesis_pytestplugin",
    "anyio.pytest_plugin",
)
"""Plugins of pytest among them, which it would rather import itself, to rewrite what they assert: see `_run`."""
_SECONDS = 300


def main():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _OTHERS:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # a process with threads is not to be forked
    assert not any(name.split(".")[0] == "privfl" for name in sys.modules)
    gc.freeze()  # what is here already is no garbage: a forked process need neither walk nor copy it
    for line in sys.stdin:
        asked = json.loads(line)
        with tempfile.TemporaryFile() as said:
            child = os.fork()
            if not child:
                _run(asked["copy"], asked["arguments"], said.fileno())
            _, status = os.waitpid(child, 0)
            said.seek(0)
            told = {"returncode": os.waitstatus_to_exitcode(status), "stdout": said.read().decode(errors="replace")}
        print(json.dumps(told), flush=True)


def _run(copy, arguments, said):
    code = 70
    try:
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.path.insert(0, copy)
        signal.alarm(_SECONDS)  # a defect may be one that never ends
        os.environ["PYTHONPATH"] = f"{copy}{os.pathsep}{Path.cwd()}"  # for those whom tests start
        import pytest

        code = pytest.main(["-W", "ignore::pytest.PytestAssertRewriteWarning", *arguments])
        sys.stdout.flush()
    finally:
        os._exit(int(code))


if __name__ == "__main__":
    main()
