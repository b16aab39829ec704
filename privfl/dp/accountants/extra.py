"""The libraries behind the accountants, imported when they are needed."""

from __future__ import annotations

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from privfl.errors import MissingExtra


def dp_accounting() -> Any:
    """Import dp-accounting.

    Raises:
        MissingExtra: it is not installed.
    """
    return _import("dp_accounting", "dp", "dp-accounting")


def dp_accounting_pld() -> Any:
    """Import the module of dp-accounting that makes privacy loss distributions.

    Raises:
        MissingExtra: it is not installed.
    """
    return _import("dp_accounting.pld.privacy_loss_distribution", "dp", "dp-accounting")


def scipy_special() -> Any:
    """Import scipy.special, which comes with dp-accounting.

    Raises:
        MissingExtra: it is not installed.
    """
    return _import("scipy.special", "dp", "dp-accounting")


def scipy_optimize() -> Any:
    """Import scipy.optimize, which comes with dp-accounting.

    Raises:
        MissingExtra: it is not installed.
    """
    return _import("scipy.optimize", "dp", "dp-accounting")


def opacus_accountants() -> Any:
    """Import the accountants of Opacus.

    Raises:
        MissingExtra: it is not installed.
    """
    with quiet():
        return _import("opacus.accountants", "learning", "opacus")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what the libraries say about infinities that they then treat right."""
    spoken = logging.getLogger("absl")  # dp-accounting's
    level = spoken.level
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        spoken.setLevel(logging.ERROR)
        try:
            yield
        finally:
            spoken.setLevel(level)


def _import(module: str, extra: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(extra, package) from error
