"""Try an installed privfl: what its extra promises, and that what takes another extra says so.

    python smoke.py EXTRA [OTHER…]     # in an empty directory, by the Python of the environment

Started by `environments.py`. Prints a line of JSON for each thing that was tried: its name, what came of it, and
whether that is good.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final

from extras import MADE_UP, OWN_JOB, PROMISES, everything, mean_of, privfl, require

MODULES: Final = {
    "ckks": ("tenseal", "zstandard"),
    "learning": ("torch", "opacus", "sklearn"),
    "dp": ("dp_accounting",),
    "flower": ("flwr", "ray"),
    "http": ("starlette", "uvicorn", "httpx"),
    "mqtt": ("paho.mqtt", "httpx"),
    "plot": ("matplotlib",),
}
"""What an extra brings: where another one brings all of it too, nothing is missing."""


# What no extra is needed for


def installed_one() -> str:
    """The package that is imported is the environment's, and has its command."""
    import privfl as package

    where = Path(package.__file__)
    require(where.is_relative_to(sys.prefix), f"privfl is imported from {where}")
    command = Path(sys.executable).with_name("privfl")
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    require(said == f"privfl {package.__version__}", said)
    return said


def sums() -> str:
    """Every suite that takes no extra gives the mean of the updates."""
    for suite in ("plain", "masking", "kahe"):
        mean_of(suite)
    return "plain, masking, kahe"


def plans() -> str:
    """The planner answers."""
    planned = json.loads(privfl("plan", "--suite", "kahe", "--clients", "1000", "--json").stdout)
    require(planned["degree"] > 1, "no plan")
    return f"degree {planned['degree']}, threshold {planned['threshold']}"


def own_run() -> str:
    """A model in numpy, with data of one's own: trained, reported on, audited."""
    Path("made_up.py").write_text(MADE_UP)
    Path("own.toml").write_text(OWN_JOB)
    said = json.loads(privfl("run", "own.toml", "--out", "own", "--json").stdout)
    require(said["accuracy"] > 0.9, f"accuracy {said['accuracy']}")
    require(Path("own/report.html").stat().st_size > 10_000, "no report")
    audited = json.loads(privfl("audit", "own", "--json").stdout)
    require(audited["verdict"] == "pass", f"audit: {audited['verdict']}")
    return f"accuracy {said['accuracy']:.2f}, audit {audited['verdict']}"


BASE: Final = (installed_one, sums, plans, own_run)


# What is missing


def there(extra: str) -> bool:
    """Whether all that an extra brings can be imported."""
    for name in MODULES[extra]:
        try:
            if importlib.util.find_spec(name) is None:
                return False
        except ModuleNotFoundError:
            return False
    return True


def missing(extra: str) -> str:
    """What takes an extra that is not there says which."""
    if extra in {"learning", "dp"}:
        Path("needs.toml").write_text('data = { name = "hospitals", clients = 10 }\nrounds = 1\n')
        spent = ("--sampling-rate", "0.1", "--noise-multiplier", "1.0", "--steps", "1", "--delta", "1e-5")
        arguments = ("run", "needs.toml", "--out", "needs") if extra == "learning" else ("epsilon", *spent)
        said = privfl(*arguments, code=64).stderr
    else:
        said = _raised(extra)
    require(f"pip install 'privfl[{extra}]'" in said, f"says {said!r}")
    return said.strip().splitlines()[-1]


def _raised(extra: str) -> str:
    from privfl.errors import MissingExtra

    calls: dict[str, Callable[[], object]] = {
        "ckks": lambda: mean_of("ckks"),
        "plot": lambda: import_module("privfl.bench.plots").write_plots(None, Path()),
    }
    try:
        calls.get(extra, lambda: import_module(f"privfl.integrations.{extra}"))()
    except MissingExtra as error:
        return str(error)
    raise ValueError("goes on without it")


def tell(name: str, look: Callable[[], str]) -> None:
    """Try one thing, and print what came of it."""
    try:
        said, good = look(), True
    except Exception as error:  # noqa: BLE001 - the next thing is tried whatever it is
        said, good = f"{type(error).__name__}: {error}", False
    print(json.dumps({"name": name, "said": said, "good": good}), flush=True)


def main(extra: str, others: list[str]) -> None:
    """Try one environment."""
    for look in BASE:
        tell(look.__name__.replace("_", " "), look)
    promised = others if extra == "all" else [extra] if extra != "none" else []
    for name in promised:
        tell(f"what {name} promises", PROMISES[name])
    if extra == "all":
        tell("what several promise", everything)
    for name in others:
        if not there(name):
            tell(f"without {name}", lambda: missing(name))  # noqa: B023 - called at once
        elif name not in promised:
            tell(f"{name} is there by way of {extra}", lambda: ", ".join(MODULES[name]))  # noqa: B023 - likewise


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
