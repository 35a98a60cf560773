"""Images that a build begins with or copies from: found on this host, or pulled."""

from __future__ import annotations

import asyncio

from netd.common.errors import NotFound
from netd.common.tasks import start_awaited
from runtime.build.execute.build_output import StageOutput
from runtime.build.execute.build_session import BuildSession
from runtime.images import compatibility, reference
from runtime.images.image_config import ImageRecord
from runtime.platforms import Platform
from runtime.progress import Report
from runtime.registry.auth_config import ANONYMOUS


async def find_image(session: BuildSession, name: str, output: StageOutput, platform: str = "") -> ImageRecord:
    """Return an image, and hold its layers until the end of the build.

    It is pulled if it is not on this host, or if the request says so; each name at most once in a build.
    Raises Problems with Docker's messages, also for an image that cannot run on this host.
    """
    images = session.services.images
    wanted = compatibility.requested(platform)
    if wanted is not None:
        compatibility.check(wanted, name, wanted)
    async with session.pulls:
        image = None if _pulls_again(session, name) else _known(session, name)
        if image is None:
            await _pull(session, name, wanted, output)
            image = images.find(name)
    document = image.document
    compatibility.check(Platform(document.os, document.architecture, document.variant), name, wanted)
    if not all([images.hold(session.lease, chain) for chain in image.layers]):
        raise NotFound(f"No such image: {name}: its layers are not on disk; import, load or pull it again")
    return image


def _pulls_again(session: BuildSession, name: str) -> bool:
    return session.request.pull and name not in session.pulled and reference.id_prefix(name) is None


def _known(session: BuildSession, name: str) -> ImageRecord | None:
    try:
        return session.services.images.find(name)
    except NotFound:
        if name.startswith("sha256:"):
            raise
        return None


async def _pull(session: BuildSession, name: str, platform: Platform | None, output: StageOutput) -> None:
    """Pull an image with the client's credentials for its registry, and send the progress to *output*."""
    wanted = reference.parse(name)
    credentials = session.request.credentials.get(wanted.domain, ANONYMOUS)
    report = Report()
    working = start_awaited(session.services.puller.pull(wanted, credentials, platform, report))
    arrived = start_awaited(report.next())
    try:
        while not working.done():
            await asyncio.wait((working, arrived), return_when=asyncio.FIRST_COMPLETED)
            if arrived.done():
                for message in arrived.result():
                    await output.message(message)
                arrived = start_awaited(report.next())
        for message in report.take():
            await output.message(message)
        working.result()
    finally:
        arrived.cancel()
        working.cancel()
        await asyncio.wait((working,))
    session.pulled.add(name)
