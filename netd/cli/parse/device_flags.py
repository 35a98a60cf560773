"""``--gpus`` as the field ``DeviceRequests``, which the daemon refuses by name.  Pure."""

from __future__ import annotations

from netd.cli.parse.flags import integer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def gpus(word: str) -> dict[str, Any]:
    """Return the request for ``all``, a number, or ``device=ID``, ``driver=NAME``, ``capabilities=…`` in CSV format."""
    import csv

    request: dict[str, Any] = {"Driver": "", "Count": 1, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}
    for field in next(csv.reader([word])):
        key, equals, value = field.partition("=")
        if not equals or key == "count":
            request["Count"] = _count(value if equals else key)
        elif key == "driver":
            request["Driver"] = value
        elif key == "device":
            request["DeviceIDs"], request["Count"] = value.split(","), 0
        elif key == "capabilities":
            request["Capabilities"] = [[*value.split(","), "gpu"]]
        elif key == "options":
            request["Options"] = dict(pair.partition("=")[::2] for pair in value.split(","))
        else:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
    return request


def _count(text: str) -> int:
    if text == "all":
        return -1
    try:
        return integer(text)
    except ValueError:
        raise ValueError(f'invalid count ({text}): value must be either "all" or an integer') from None
