"""The state of a stage after a step: the image as it would be if the build ended there.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from netd.common.ids import now
from runtime.build.plan.config_changes import ImageSettings
from runtime.build.plan.variables import Variables, environment
from runtime.images.image_config import History, ImageConfig, ImageDocument, ImageRecord, RootFS, chain_ids, image_id

KEY_COMMENT = "netd.build:"
"""History entries carry the key of their step after this word, so that ``--cache-from`` finds them."""
_NO_OPERATION = "/bin/sh -c #(nop) "


@dataclass(frozen=True, slots=True, kw_only=True)
class StageState:
    key: str
    """The key of the last step."""
    document: ImageDocument
    layers: tuple[str, ...]
    """Chain ids, bottom first."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """ARG values."""
    cmd_set: bool = False

    @property
    def config(self) -> ImageConfig:
        return self.document.config or ImageConfig()

    @property
    def variables(self) -> Variables:
        return Variables(environment(self.config.env), self.arguments)

    @property
    def settings(self) -> ImageSettings:
        return ImageSettings(self.config, self.document.author, self.cmd_set)

    @property
    def diffs(self) -> list[str]:
        return self.document.rootfs.diff_ids

    @property
    def text(self) -> str:
        return msgspec.json.encode(self.document).decode()

    @property
    def id(self) -> str:
        return image_id(self.text)

    def after(
        self, key: str, created_by: str, *, settings: ImageSettings | None = None, diff: str = "", created: str = ""
    ) -> StageState:
        """Return the state after a step that changed the *settings*, or added a layer with the diff id *diff*.

        *created* is the time of the step, by default now.
        """
        settings = settings or self.settings
        moment = created or now()
        entry = History(created=moment, created_by=created_by, comment=f"{KEY_COMMENT}{key}", empty_layer=not diff)
        diffs = [*self.diffs, diff] if diff else self.diffs
        document = msgspec.structs.replace(
            self.document,
            created=moment,
            author=settings.author,
            config=settings.config,
            rootfs=RootFS(diff_ids=diffs),
            history=[*(self.document.history or ()), entry],
        )
        return replace(self, key=key, document=document, layers=tuple(chain_ids(diffs)), cmd_set=settings.cmd_set)

    def with_arguments(self, arguments: Mapping[str, str]) -> StageState:
        return replace(self, arguments=arguments)

    def restored(self, key: str, document: ImageDocument, cmd_set: bool) -> StageState:
        """Return the state after a step whose result *document* was found in the cache."""
        layers = tuple(chain_ids(document.rootfs.diff_ids))
        return replace(self, key=key, document=document, layers=layers, cmd_set=cmd_set)

    def record_for_containers(self) -> ImageRecord:
        """Return the image as containers of RUN see it: without volumes, so that what is written there is kept."""
        config = ImageConfig(env=self.config.env, user=self.config.user, working_dir=self.config.working_dir)
        document = msgspec.structs.replace(self.document, config=config)
        text = msgspec.json.encode(document).decode()
        return ImageRecord(id=self.id, text=text, layers=list(self.layers), size=0)


def from_image(image: ImageRecord, key: str) -> StageState:
    return StageState(key=key, document=image.document, layers=tuple(image.layers))


def scratch(architecture: str, key: str) -> StageState:
    return StageState(key=key, document=ImageDocument(architecture=architecture, os="linux"), layers=())


def no_operation(text: str) -> str:
    """Return the history text of an instruction that runs no program, as the classic builder writes it."""
    return f"{_NO_OPERATION} {text}"
