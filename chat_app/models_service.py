"""ModelsService: each version, what it learned, how it was judged; who speaks; taking one along.

No Gradio, SQL or tensors; any thread may call it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

from chat_app.adapter_zip import adapter_zip
from chat_app.errors import ChatError, sentences
from chat_app.language import tr
from chat_app.merged_model import merged_zip
from learner.errors import LearnerError
from learner.model_folder import ModelFolder
from storage.duels import Duel, DuelReader, between
from storage.policy_registry import PolicyRegistry
from storage.records import BASE_VERSION, PolicyVersion, PolicyVersionId, RoundReport

LISTED = 100
"""Newest versions on the list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionCard:
    id: PolicyVersionId
    parent: PolicyVersionId | None
    above: PolicyVersionId | None
    """Its nearest ancestor on the list; None for the base, and where a card stands alone."""
    created_at: datetime
    live: bool
    on_live_line: bool
    """Live, or an ancestor of the live one."""
    servable: bool
    kept: bool
    """Whether its files are there; fewer and fewer are of the older ones."""
    why_not: str
    """Why it may not speak, where it may not and is kept."""
    picks: int
    """Choices its own lesson trained on."""
    note: str
    """The person's own, may be empty."""
    duel: Duel | None
    """Against its parent, where the person chose between the two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDetail:
    card: VersionCard
    lesson: RoundReport | None
    """None for the base."""
    gate: Mapping[str, Any]
    """The gate's limits in that lesson, by the names of its settings."""
    size_bytes: int
    """Of its adapter on disk, 0 for the base."""
    duels: tuple[Duel, ...]
    """Against any other version."""


class ModelsService:
    def __init__(
        self,
        *,
        policies: PolicyRegistry,
        duels: DuelReader,
        model_name: str,
        changed: Callable[[], None],
        base: ModelFolder | None = None,
    ) -> None:
        """``base`` None: there is nothing to merge an adapter into, as in the demo."""
        self._policies = policies
        self._duels = duels
        self._changed = changed
        self._base = base
        self._merging = Lock()
        self.model_name = model_name

    def versions(self, *, also: PolicyVersionId | None = None) -> list[VersionCard]:
        """The newest versions that are kept, newest first, with the live one and the base.

        ``also``, which somebody looks at, is among them if there is such a version.
        """
        with sentences():
            return self._cards(self._policies.versions(limit=LISTED, kept=True, also=also))

    def detail(self, version: PolicyVersionId) -> VersionDetail:
        with sentences():
            known = self._policies.get(version)
            lesson = self._policies.round(version)
            return VersionDetail(
                card=self._cards([known])[0],
                lesson=lesson,
                gate={} if lesson is None else self._gate(lesson),
                size_bytes=_size(known),
                duels=tuple(
                    duel for duel in self._duels.all() if version in (duel.newer, duel.older)
                ),
            )

    def make_live(self, version: PolicyVersionId) -> None:
        """Let a version speak from the next reply on."""
        with sentences():
            if self._policies.current().id == version:
                raise ChatError(tr("Version {version} is live already.", version=version))
            self._policies.activate(version, reason="chosen on the Models page")
        self._changed()

    def note(self, version: PolicyVersionId, text: str) -> None:
        """Keep a note about a version, in place of the one before; an empty one takes it away."""
        with sentences():
            self._policies.note(version, text)

    def roll_back(self) -> PolicyVersionId:
        """Let the nearest ancestor that may speak replace the live version; return it."""
        with sentences():
            live = self._policies.current().id
            back = self._policies.go_back(live, reason="rolled back on the Models page")
            if back is None:
                raise ChatError(
                    tr("The untrained model speaks already; there is nothing before it.")
                )
        self._changed()
        return back

    def adapter(self, version: PolicyVersionId) -> bytes:
        """A version as a ZIP with a PEFT folder and a card."""
        with sentences():
            known = self._policies.get(version)
            lesson = self._policies.round(version)
            if version == BASE_VERSION or lesson is None:
                raise ChatError(
                    tr("The untrained model has no adapter: it is the base model itself.")
                )
            return adapter_zip(self._policies, known, lesson, self.model_name)

    @property
    def merges(self) -> bool:
        """Whether a version can be had as a whole model."""
        return self._base is not None

    def merged(self, version: PolicyVersionId) -> Iterator[bytes]:
        """A version merged into its base, as the bytes of a ZIP with a model folder and a card.

        Raises ChatError, also while another is being merged: each takes the memory and the disk
        of a whole model.
        """
        if self._base is None:
            raise ChatError(tr("There is no model here to merge a version into."))
        if not self._merging.acquire(blocking=False):
            raise ChatError(tr("A version is being merged just now: try again in a minute."))
        try:
            with sentences():
                return merged_zip(self._policies, version, self._base, self._policies.rounds.parent)
        except LearnerError as error:
            raise ChatError(str(error)) from error
        finally:
            self._merging.release()

    # --- Private -----------------------------------------------------------------------------

    def _cards(self, versions: Sequence[PolicyVersion]) -> list[VersionCard]:
        """What the list says of each of these, newest first."""
        live, line = self._policies.current().id, set(self._policies.lineage())
        servable = self._policies.servable_among(version.id for version in versions)
        states, duels = self._policies.last_states(), self._duels.all()
        notes, pruned = self._policies.notes(), set(self._policies.pruned())
        above = self._policies.nearest_among(version.id for version in versions)
        return [
            VersionCard(
                id=version.id,
                parent=version.parent,
                above=above.get(version.id),
                created_at=version.created_at,
                live=version.id == live,
                on_live_line=version.id in line,
                servable=version.id in servable,
                kept=version.id not in pruned,
                why_not="" if version.id in servable else states.get(version.id, ("", ""))[1],
                picks=self._policies.picks_in(version.id),
                note=notes.get(version.id, ""),
                duel=None if version.parent is None else between(duels, version.id, version.parent),
            )
            for version in reversed(versions)
        ]

    def _gate(self, lesson: RoundReport) -> Mapping[str, Any]:
        return self._policies.config_of(lesson.number).get("gate", {})


def lanes(cards: Sequence[VersionCard]) -> list[str]:
    """For each version, newest first, the lines of the tree beside it, as ``git log --graph``.

    Empty strings where the tree is one line, which needs no picture.
    """
    waiting: list[PolicyVersionId] = []
    rows: list[list[str]] = []
    for card in cards:
        if card.id not in waiting:
            waiting.append(card.id)
        mine = waiting.index(card.id)
        rows.append(["●" if lane == mine else "│" for lane in range(len(waiting))])
        if card.above is None:
            del waiting[mine]
        elif card.above in waiting:
            del waiting[mine]  # that one's line stands already: the branch ends in it
        else:
            waiting[mine] = card.above
    if all(len(row) == 1 for row in rows):
        return ["" for _ in rows]
    return [" ".join(row) for row in rows]


def _size(version: PolicyVersion) -> int:
    if version.adapter_path is None or not version.adapter_path.is_dir():
        return 0
    return sum(path.stat().st_size for path in version.adapter_path.rglob("*") if path.is_file())
