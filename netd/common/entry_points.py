"""Drivers that installed packages bring, by their entry points."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

T = TypeVar("T")
_log = logging.getLogger(__name__)


def load_drivers(group: str, checked: Callable[[object], T], taken: Collection[str]) -> dict[str, T]:
    """Return what the packages bring under names that are not *taken*, made; what cannot be used is left out.

    An entry point's name is the driver's, and it names a class made without arguments.  *checked* returns what was
    made, or raises TypeError for what is no driver.
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
