"""Removal of images by ``rmi`` and ``image prune``, and the reports that they return.

The rules are those of Docker 28 (``daemon/images/image_delete.go`` and ``image_prune.go``): a name is removed before
its image, repository digests are removed with the last tag of their repository, and unnamed parents that nothing uses
with the image.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from netd.common.errors import Conflict, NotFound, Problem
from netd.common.events import Bus, event
from runtime.engine.containers.container import Container
from runtime.engine.containers.containers import Containers
from runtime.images import reference
from runtime.images.image_config import ImageRecord
from runtime.images.image_store import Images
from runtime.images.reference import Reference

Report = list[dict[str, str]]


class ImageRemoval:
    def __init__(self, images: Images, containers: Containers, bus: Bus) -> None:
        self._images = images
        self._containers = containers
        self._bus = bus

    async def remove(self, text: str, *, force: bool, prune: bool = True) -> Report:
        """Remove the name *text*, and the image if that was its last name; an id stands for all names.

        With *prune*, unnamed parents that are not used are removed as well.  Raises Conflict if the image is used, or
        has names in several repositories; with *force* only if a running container uses it or an image is based on it.
        """
        image = self._images.find(text)
        report: Report = []
        name = self._name(text, image)
        if name is None:
            names = self._images.references(image.id)
            if _is_single(names):
                self._check(image, force=force, named=False)
                for reference_ in names:
                    await self._untag(reference_, image, report)
            await self._delete(image, report, force=force, prune=prune)
            return report
        await self._remove_name(name, image, report, force=force, shown=text)
        if not self._images.references(image.id):
            await self._delete(image, report, force=force, prune=prune, quiet=True)
        return report

    def _name(self, text: str, image: ImageRecord) -> Reference | None:
        """Return the name that *text* is; None if it is an id."""
        prefix = reference.id_prefix(text)
        name = None if prefix and image.id == f"sha256:{prefix}" else reference.parse(text)
        if name is not None and self._images.image_of(name) == image.id:
            return name
        if prefix and image.id.startswith(f"sha256:{prefix}"):
            return None
        raise NotFound(f"No such image: {text}")

    async def _remove_name(
        self, name: Reference, image: ImageRecord, report: Report, *, force: bool, shown: str
    ) -> None:
        users = self._containers.users_of_image(image.id)
        if not force and users and _is_single(self._images.references(image.id)):
            raise Conflict(
                f'conflict: unable to remove repository reference "{shown}" (must force) - container'
                f" {_id_and_name(users[0])} is using its referenced image {_short(image)}"
            )
        await self._untag(name, image, report)
        if name.digest:
            return
        same = [found for found in self._images.references(image.id) if found.repository == name.repository]
        if all(found.digest for found in same):
            for digest in same:
                await self._untag(digest, image, report)

    def _check(self, image: ImageRecord, *, force: bool, named: bool = True) -> None:
        """Raise Conflict if the image cannot be deleted; *named* says whether its names are a reason."""
        if self._images.children(image.id):
            raise self._conflict(image, "cannot be forced", "image has dependent child images")
        users = self._containers.users_of_image(image.id)
        for container in users:
            if container.record.state.counts_as_running:
                used = f"image is being used by running container {_id_and_name(container)}"
                raise self._conflict(image, "cannot be forced", used)
        if force:
            return
        if named and self._images.references(image.id):
            raise self._conflict(image, "must be forced", "image is referenced in multiple repositories")
        if users:
            used = f"image is being used by stopped container {_id_and_name(users[0])}"
            raise self._conflict(image, "must be forced", used)

    def _conflict(self, image: ImageRecord, remedy: str, reason: str) -> Conflict:
        return Conflict(f"conflict: unable to delete {_short(image)} ({remedy}) - {reason}")

    async def _delete(
        self, image: ImageRecord, report: Report, *, force: bool, prune: bool, quiet: bool = False
    ) -> None:
        """Delete the image and, with *prune*, its unnamed parents; *quiet* keeps a used image without an error."""
        current: ImageRecord | None = image
        while current is not None:
            try:
                self._check(current, force=force)
            except Conflict:
                if quiet and (self._images.references(current.id) or self._is_used(current)):
                    return
                raise
            parent = self._images.by_id(current.parent)
            for name in self._images.references(current.id):
                await self._untag(name, current, report)
            layers = await self._images.delete(current)
            self._publish_event("delete", current, current.id)
            report.append({"Deleted": current.id})
            report += [{"Deleted": chain} for chain in reversed(layers)]
            is_prunable = prune and parent is not None and not self._images.references(parent.id)
            if not is_prunable or self._images.children(current.parent) or self._is_used(parent):
                return
            current, force, quiet = parent, False, True

    def _is_used(self, image: ImageRecord | None) -> bool:
        return image is not None and bool(self._containers.users_of_image(image.id))

    async def _untag(self, name: Reference, image: ImageRecord, report: Report) -> None:
        await self._images.untag(name)
        self._publish_event("untag", image, name.short)
        report.append({"Untagged": name.short})

    async def prune(
        self,
        matches: Callable[[ImageRecord], bool],
        *,
        dangling: bool,
        deleted: Callable[[str], Awaitable[None]],
    ) -> tuple[Report, int]:
        """Remove the unused images for which *matches* is true; with *dangling*, only those without a tag.

        Return the report, and the bytes of the layers that were deleted.  *deleted* is called with each name, id of an
        image or id of a layer that was removed.
        """
        report: Report = []
        sizes = await self._images.layer_sizes()
        for image in self._images.all():
            names = self._images.references(image.id)
            if (not names and self._images.children(image.id)) or not matches(image):
                continue
            if dangling and any(not name.digest for name in names):
                continue
            for text in [name.full for name in names] or [image.id]:
                try:
                    removed = await self.remove(text, force=False)
                except Problem:  # it is used, or was removed meanwhile
                    continue
                report += removed
                for entry in removed:
                    await deleted(next(iter(entry.values())))
        freed = sum(sizes.get(entry.get("Deleted", ""), 0) for entry in report)
        self._bus.publish(event("image", "prune", "", {"reclaimed": str(freed)}))
        return report, freed

    def _publish_event(self, action: str, image: ImageRecord, name: str) -> None:
        self._bus.publish(event("image", action, image.id, {"name": name}))


def _short(image: ImageRecord) -> str:
    return image.id.removeprefix("sha256:")[:12]


def _id_and_name(container: Container) -> str:
    return f"{container.id[:12]} ({container.record.name})"


def _is_single(names: Sequence[Reference]) -> bool:
    """Return whether the names are at most one tag, and digests of one repository."""
    if len(names) <= 1:
        return True
    tags = [name for name in names if not name.digest]
    return len(tags) <= 1 and len({name.repository for name in names}) == 1
