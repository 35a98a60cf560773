"""Errors of registries in the words of Docker's pull, with the status codes that its clients expect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from runtime.images.reference import Reference
from runtime.registry.errors import RegistryError


@contextmanager
def worded_for(name: Reference) -> Iterator[None]:
    """Raise errors that mean a missing image as Docker does: status 404, which clients of ``create`` rely on."""
    try:
        yield
    except RegistryError as error:
        if (text := _missing(error, name)) is None:
            raise
        raise RegistryError(f"{text}: {error.message}", code=error.code, status=404) from None


def _missing(error: RegistryError, name: Reference) -> str | None:
    if error.code == "DENIED":
        denied = f"pull access denied for {name.short_repository}"
        return f"{denied}, repository does not exist or may require 'docker login'"
    if error.code == "MANIFEST_UNKNOWN":
        return f"manifest for {name.short} not found"
    if error.code == "NAME_UNKNOWN":
        return f"repository {name.short_repository} not found"
    return None
