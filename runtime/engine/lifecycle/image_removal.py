"""Removal of images by ``rmi`` and ``image prune``, and the reports that they return."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from netd.common.errors import Conflict
from netd.common.events import Bus, event
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.images.image_config import ImageRecord
from runtime.images.image_store import Images
from runtime.images.reference import Reference

Report = list[dict[str, str]]


class ImageRemoval:
    def __init__(self, images: Images, containers: Containers, bus: Bus) -> None:
        self._images = images
        self._containers = containers
        self._bus = bus

    async def remove(self, text: str, *, force: bool) -> Report:
        """Remove the name *text* if the image has further names; otherwise remove the image with all its names.

        Raises Conflict if a container uses the image, or, without *force*, if *text* is an id and the image has several
        names.
        """
        image = self._images.find(text)
        names = self._images.names_of(image.id)
        tag = self._images.names_tag(text)
        if tag is not None and len(names) > 1:
            await self._images.untag(tag)
            return self._untagged([tag], image)
        self._check_removable(image, names, tag, force=force)
        return await self._delete(image)

    def _check_removable(
        self, image: ImageRecord, names: Sequence[Reference], tag: Reference | None, *, force: bool
    ) -> None:
        short = image.id.removeprefix("sha256:")[:12]
        users = self._containers.users_of_image(image.id)
        running = [container for container in users if container.record.state.counts_as_running]
        if tag is None and len(names) > 1 and not force:
            raise Conflict(
                f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
            )
        if running:
            raise Conflict(
                f"conflict: unable to delete {tag.short if tag else short} (cannot be forced) - image is being used by"
                f" running container {_id_and_name(running[0])}"
            )
        if users:
            raise Conflict(
                f"conflict: unable to delete {tag.short if tag else short} (cannot be forced) - image is being used by"
                f" stopped container {_id_and_name(users[0])}: remove the container first"
            )

    async def _delete(self, image: ImageRecord) -> Report:
        names = await self._images.delete(image)
        report = self._untagged(names, image)
        self._publish_event("delete", image, {"name": image.id})
        report.append({"Deleted": image.id})
        return report + [{"Deleted": chain} for chain in reversed(image.layers)]

    def _untagged(self, names: Sequence[Reference], image: ImageRecord) -> Report:
        for name in names:
            self._publish_event("untag", image, {"name": name.short})
        return [{"Untagged": name.short} for name in names]

    async def prune(self, matches: Callable[[ImageRecord], bool], *, dangling: bool) -> tuple[Report, int]:
        """Delete every unused image for which *matches* is true; with *dangling*, only images without a name."""
        report: Report = []
        freed = 0
        for image in self._images.all():
            named = bool(self._images.names_of(image.id))
            if (named and dangling) or self._containers.users_of_image(image.id) or not matches(image):
                continue
            report += await self._delete(image)
            freed += image.size
        return report, freed

    def _publish_event(self, action: str, image: ImageRecord, attributes: dict[str, str]) -> None:
        self._bus.publish(event("image", action, image.id, attributes))


def _id_and_name(container: Container) -> str:
    return f"{container.id[:12]} ({container.record.name})"


def reference_filter(patterns: Sequence[str], names: Sequence[Reference]) -> bool:
    """Return whether a name matches one of the patterns, such as ``busybox``, ``busybox:1``, ``local/*``."""
    return not patterns or any(_matches(pattern, name) for pattern in patterns for name in names)


def _matches(pattern: str, name: Reference) -> bool:
    texts = (name.short, name.short_repository, name.full, name.repository)
    return any(fnmatchcase(text, pattern) for text in texts)
