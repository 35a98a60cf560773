"""Which images this host can run, and the errors for all others.  Pure but for the name of the machine."""

from __future__ import annotations

import platform as machine

import msgspec

from netd.common.errors import BadRequest, NotFound
from runtime import platforms
from runtime.images.image_config import ImageRecord
from runtime.platforms import Platform


def host() -> Platform:
    """Return the platform of this machine."""
    return platforms.normalized(Platform("linux", machine.machine()))


class _Json(msgspec.Struct):
    os: str = ""
    architecture: str = ""
    variant: str = ""


def requested(text: str) -> Platform | None:
    """Parse the query parameter ``platform``: ``linux/arm64``, or the JSON object of newer API versions.

    Return None for an empty text.  Raises BadRequest.
    """
    if not text.startswith("{"):
        return platforms.parse(text, host()) if text else None
    try:
        found = msgspec.json.decode(text, type=_Json)
    except msgspec.DecodeError as error:
        raise BadRequest(f"the platform is invalid: {error}") from None
    here = host()
    return platforms.normalized(Platform(found.os or here.os, found.architecture or here.architecture, found.variant))


def platform_of(image: ImageRecord) -> Platform:
    """Return the platform of an image; an image that does not say is for this machine."""
    document, here = image.document, host()
    return Platform(document.os or here.os, document.architecture or here.architecture, document.variant)


def check(image: Platform, shown: str, wanted: Platform | None = None) -> None:
    """Raise an error with the reason if an image cannot be used: it is for another system, or not for *wanted*.

    Without *wanted*, the image must run on this machine.  *shown* names the image.
    """
    if image.os.lower() != "linux":
        where = "Windows containers need a Windows host" if image.os == "windows" else "this host runs Linux"
        raise BadRequest(f"cannot use the image {shown}, which is for {image}, on linux: {where}")
    if wanted is not None and platforms.best([image], wanted) is None:
        raise NotFound(
            f"image with reference {shown} was found but its platform ({image}) does not match the specified platform"
            f" ({wanted})"
        )
    if wanted is None and platforms.best([image], host()) is None:
        raise BadRequest(
            f"the image {shown} is for {image}, and this machine runs {host()}: use an image for {host()}, or add"
            f" --platform {image} to store the image without running it"
        )
