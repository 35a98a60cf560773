"""COPY and ADD: finds the sources, and writes them to a new layer."""

from __future__ import annotations

import hashlib
import os
import posixpath
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from netd import path_patterns
from netd.common.errors import BadRequest
from netd.path_patterns import Pattern, PatternError
from runtime.build.dockerfile import instruction_parser, words
from runtime.build.dockerfile.faults import DockerfileError, shortened
from runtime.build.dockerfile.instructions import Copy
from runtime.build.execute import origins, step_results
from runtime.build.execute.blocking import in_thread
from runtime.build.execute.build_session import BuildSession, StepContext
from runtime.build.execute.origins import Origin
from runtime.build.execute.stage_state import StageState, no_operation
from runtime.build.execute.step_results import BuildStep
from runtime.build.execute.url_download import Download, is_git, is_url
from runtime.build.files import add_archives, copy_owners, file_modes, roots, source_selection, tree_copy, tree_digest
from runtime.build.files.source_selection import NotInTree, Source
from runtime.build.files.tree_copy import CopyOptions
from runtime.build.plan import cache_keys
from runtime.images.layers import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """Something to copy: a source of a tree, a here-document, or a downloaded file."""

    digest: str
    name: str
    source: Source | None = None
    text: str = ""
    kept_path: str = ""
    """``--parents``: the path below the target."""
    content: bytes = b""
    download: Download | None = None


async def run(context: StepContext, state: StageState, instruction: Copy) -> StageState:
    """Return the state after COPY or ADD.  Raises Problems with Docker's messages."""
    step = _CopyStep(context, state, instruction)
    return await step.run()


class _CopyStep:
    def __init__(self, context: StepContext, state: StageState, instruction: Copy) -> None:
        self._context = context
        self._session: BuildSession = context.session
        self._state = state
        self._instruction = instruction
        self._variables = state.variables.all()
        expand = self._expand
        self._target = self._absolute(expand(instruction.target))
        self._owner, self._mode = expand(instruction.owner), expand(instruction.mode)
        self._exclude = tuple(map(expand, instruction.exclude))
        self._patterns = _patterns(self._exclude)
        self._change = file_modes.parse(self._mode) if self._mode else None

    def _expand(self, text: str) -> str:
        try:
            return words.expand(text, self._variables, self._session.dockerfile.escape)
        except DockerfileError as error:
            raise BadRequest(f'failed to process "{shortened(text)}": {error.fault}') from None

    def _absolute(self, target: str) -> str:
        """Return the target as an absolute path; a slash at its end says that it is a folder."""
        if not target:
            raise BadRequest(f"{self._instruction.keyword} failed: the destination is empty")
        is_folder = target.endswith(("/", "/.")) or target in (".", "..")
        path = posixpath.normpath(posixpath.join("/", self._state.config.working_dir or "/", target))
        path = "/" + path.lstrip("/")
        return path if path == "/" or not is_folder else f"{path}/"

    async def run(self) -> StageState:
        origin = await origins.find(self._context, self._instruction.origin) if self._instruction.origin else None
        fast_key = self._key([f"from:{origin.key}", *self._instruction.sources]) if origin else ""
        if fast_key and (found := await self._session.cached(fast_key)) is not None:
            await self._context.output.text(" ---> Using cache\n")
            return self._state.restored(found.key, found.document, self._state.cmd_set)
        with ExitStack() as stack:
            root = stack.enter_context(roots.readable(origin.folders)) if origin else self._session.context.root
            try:
                items = await self._items(root, origin)
            except NotInTree as error:
                raise BadRequest(f"{self._instruction.keyword} failed: {error.message}") from None
            self._check(items)
            step = BuildStep(
                key=self._key([item.digest + item.kept_path for item in items]),
                created_by=no_operation(f"{self._instruction.keyword} {self._summary(items)} in {self._target}"),
                shared_key=fast_key,
            )
            return await step_results.result(
                self._context, self._state, step, lambda: self._produce(root, origin, items)
            )

    def _key(self, sources: Sequence[str]) -> str:
        instruction = self._instruction
        options = [
            instruction.keyword, self._owner, self._mode, *self._exclude, f"link={instruction.link}",
            f"parents={instruction.parents}", f"unpack={instruction.unpack}", f"from={bool(instruction.origin)}",
        ]  # fmt: skip
        return cache_keys.copy_key(self._state.key, sources, self._target, options)

    def _summary(self, items: Sequence[_Item]) -> str:
        if len(items) == 1:
            return items[0].digest
        return "multi:" + hashlib.sha256("".join(item.digest for item in items).encode()).hexdigest()

    def _check(self, items: Sequence[_Item]) -> None:
        keyword = self._instruction.keyword
        if not items:
            raise BadRequest(f"{keyword} failed: no source files were specified")
        if len(items) > 1 and not self._target.endswith("/"):
            raise BadRequest(
                f"When using {keyword} with more than one source file, the destination must be a directory and end"
                " with a /"
            )

    # Sources

    async def _items(self, root: int, origin: Origin | None) -> list[_Item]:
        items: list[_Item] = []
        for text in self._instruction.sources:
            if instruction_parser.is_here_document(self._instruction, text, self._session.dockerfile.escape):
                items.append(self._here_document(text))
                continue
            expanded = self._expand(text)
            if self._instruction.keyword == "ADD" and is_git(expanded):
                raise BadRequest(
                    f"ADD of a git repository ({shortened(expanded)}) is not supported: clone it beside the Dockerfile"
                )
            if self._instruction.keyword == "ADD" and is_url(expanded):
                items.append(await self._download(expanded))
            else:
                items += await in_thread(self._select, root, expanded, origin)
        return items

    def _here_document(self, text: str) -> _Item:
        mark = instruction_parser.mark_of(text, self._session.dockerfile.escape)
        document = next(found for found in self._instruction.here_documents if found.name == mark)
        content = document.text
        if document.expand:
            content = words.expand_text(content, self._variables, self._session.dockerfile.escape)
        data = content.encode()
        return _Item(digest=f"inline:{hashlib.sha256(data).hexdigest()}", name=posixpath.basename(mark), content=data)

    async def _download(self, url: str) -> _Item:
        target = self._session.folder / f"url-{uuid.uuid4().hex}"
        download = await Download.get(url, target, self._instruction.checksum)
        if not download.name and self._target.endswith("/"):
            raise BadRequest(f"cannot determine filename for source {shortened(url)}: name the file in the destination")
        return _Item(digest=f"url:{download.digest}", name=download.name, download=download)

    def _select(self, root: int, text: str, origin: Origin | None) -> list[_Item]:
        found = source_selection.select(root, text, in_context=origin is None)
        pivot = posixpath.normpath(text.partition("/./")[0].lstrip("/")) if "/./" in text else ""
        items = []
        for source in found:
            if not source.is_folder and path_patterns.excludes(self._patterns, source.name):
                continue
            kept = posixpath.relpath(source.path or ".", pivot or ".") if self._instruction.parents else ""
            items.append(
                _Item(digest=self._digest(root, source, origin), name=source.name, source=source, kept_path=kept)
            )
        return items

    def _digest(self, root: int, source: Source, origin: Origin | None) -> str:
        if origin is None:
            return self._session.context.digest(source, self._exclude, self._patterns)
        return tree_digest.of_source(root, source, self._patterns, owners=not self._owner)

    # The layer

    async def _produce(self, root: int, origin: Origin | None, items: Sequence[_Item]) -> Layer | None:
        folder = self._session.folder / f"copy-{uuid.uuid4().hex}"
        await in_thread(self._write, folder, root, origin, items)
        return await step_results.layer_of(self._context, self._state, folder / "upper")

    def _write(self, folder: Path, tree_root: int, origin: Origin | None, items: Sequence[_Item]) -> None:
        layers = self._session.services.layers.folders(self._state.layers)
        with roots.writable(layers, folder) as root:
            owner = copy_owners.resolve(self._owner, root) if self._owner else None
            # Files of the build context belong to root, those of stages and images keep their owners.
            options = CopyOptions(
                owner=owner or (None if origin else (0, 0)),
                mode=self._change,
                exclude=self._patterns,
                follow=not self._instruction.link,
            )
            for item in items:
                self._write_item(tree_root, item, root, options, unpacked_owner=owner)

    def _write_item(
        self, tree_root: int, item: _Item, root: int, options: CopyOptions, *, unpacked_owner: tuple[int, int] | None
    ) -> None:
        if self._unpacks(item, tree_root):
            folder = tree_copy.make_folders(root, self._target, options)
            try:
                with self._opened(item, tree_root) as archive:
                    add_archives.unpack_into(archive, folder, unpacked_owner)
            finally:
                os.close(folder)
        elif item.source is not None:
            tree_copy.copy(tree_root, item.source, root, self._place(root, item), options)
        else:
            mode = 0o600 if item.download else 0o644
            with self._opened(item, tree_root) as file:
                tree_copy.write_new(file, root, self._place(root, item), mode, options)

    def _unpacks(self, item: _Item, tree_root: int) -> bool:
        instruction = self._instruction
        is_file = item.download is not None or (item.source is not None and not item.source.is_folder)
        if instruction.keyword != "ADD" or not is_file or instruction.unpack is False:
            return False
        if item.download is not None and not instruction.unpack:
            return False
        with self._opened(item, tree_root) as file:
            return add_archives.is_archive(file)

    def _opened(self, item: _Item, tree_root: int) -> add_archives.Opened:
        if item.download is not None:
            return add_archives.open_own(item.download.path)
        if item.source is not None:
            return add_archives.open_in_tree(tree_root, item.source.path)
        return add_archives.in_memory(item.content)

    def _place(self, root: int, item: _Item) -> str:
        """Return the path in the image that an item becomes; the content of a folder is merged into it."""
        if self._instruction.parents:
            return posixpath.join(self._target, item.kept_path)
        is_folder = item.source is not None and item.source.is_folder
        if not is_folder and (self._target.endswith("/") or tree_copy.is_folder(root, self._target)):
            return posixpath.join(self._target, item.name)
        return self._target


def _patterns(texts: Sequence[str]) -> tuple[Pattern, ...]:
    try:
        return path_patterns.compile_all(texts)
    except PatternError as error:
        raise BadRequest(f"--exclude: {error}") from None
