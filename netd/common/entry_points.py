"""Drivers of installed packages, loaded by entry point."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

T = TypeVar("T")
_log = logging.getLogger(__name__)


def load_drivers(group: str, checked: Callable[[object], T], taken: Collection[str]) -> dict[str, T]:
    """Return an instance of each driver in *group* by name; names in *taken* are skipped, failures to load are logged.

    An entry point's name is the driver's name; it refers to a class that is called without arguments.  *checked*
    returns the instance, or raises TypeError if it is no driver.
    """
    drivers: dict[str, T] = {}
    for point in entry_points(group=group):
        if point.name not in (*taken, *drivers) and (driver := _load(point, checked)) is not None:
            drivers[point.name] = driver
    return drivers


def _load(point: EntryPoint, checked: Callable[[object], T]) -> T | None:
    try:
        driver = checked(point.load()())
    except Exception as problem:
        _log.error("driver=%s left-out=true group=%s from=%s reason=%r", point.name, point.group, point.value, problem)
        return None
    _log.info("driver=%s group=%s from=%s", point.name, point.group, point.value)
    return driver
