"""A version as a whole model that needs neither twofold nor its base: a folder, or a ZIP of it."""

import shutil
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from huggingface_hub import ModelCardData

from chat_app.adapter_zip import lesson_lines
from chat_app.errors import ChatError
from chat_app.language import tr
from learner.config import MergedDtype
from learner.model_folder import ModelFolder
from storage.policies import PolicyReader
from storage.records import PolicyVersion, PolicyVersionId, RoundReport

CHUNK_BYTES = 2**20
UNFINISHED = ".merged-"
"""How the name of a folder begins in which a model is not whole yet."""
DOWNLOADED = ".download-"
"""The same of one that lives as long as its download."""


def write_merged(
    policies: PolicyReader,
    version: PolicyVersionId,
    base: ModelFolder,
    target: Path,
    dtype: MergedDtype = MergedDtype.BASE,
) -> None:
    """Write the version as a model folder ``target``, which is there whole or not at all.

    Raises ChatError, MergeError or what the store raises of a version that is not as recorded.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ChatError(tr("{target} is there already: name a new folder.", target=target))
    lesson, known = policies.round(version), policies.get(version)
    if lesson is None or known.adapter_path is None:
        raise ChatError(tr("The untrained model has no adapter: it is the base model itself."))
    if policies.base_of(version) != base.sha256:
        raise ChatError(tr("Version {version} was made for another base model.", version=version))
    policies.verify(version)
    from learner.merging import merge_adapter  # noqa: PLC0415 - torch, seconds

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(prefix=UNFINISHED, dir=target.parent))
    except OSError as error:
        raise ChatError(
            tr("{target} cannot be written ({error}).", target=target, error=error.strerror)
        ) from error
    try:
        merge_adapter(base.path, known.adapter_path, draft, dtype)
        card = merged_card(known, lesson, base.name)
        (draft / "README.md").write_text(card, encoding="utf-8")
        draft.chmod(0o755)  # mkdtemp makes it for the owner alone
        if target.is_dir():
            target.rmdir()
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def merged_zip(
    policies: PolicyReader, version: PolicyVersionId, base: ModelFolder, workplace: Path
) -> Iterator[bytes]:
    """The same as the bytes of a ZIP, piece by piece. It lies under ``workplace`` meanwhile.

    The model is merged before this returns, so that an error is told before the first byte.
    """
    held = TemporaryDirectory(prefix=DOWNLOADED, dir=workplace)
    folder = Path(held.name) / f"twofold-v{version}-merged"
    try:
        write_merged(policies, version, base, folder)
    except BaseException:
        held.cleanup()
        raise
    return _zipped(folder, held)


def sweep_downloads(workplace: Path) -> None:
    """Remove what a killed server left; only one that holds the data folder may."""
    for left in workplace.glob(f"{DOWNLOADED}*"):
        shutil.rmtree(left, ignore_errors=True)


class _Sink:
    """A file that cannot go back: what was written is taken out as it comes."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _zipped(folder: Path, held: TemporaryDirectory[str]) -> Generator[bytes]:
    """Also where nobody reads on: a generator that is dropped goes through its ``with`` blocks."""
    sink = _Sink()
    with held, zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        for path in sorted(folder.iterdir()):
            entry = zipfile.ZipInfo.from_file(path, f"{folder.name}/{path.name}")
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as inside:
                while piece := source.read(CHUNK_BYTES):
                    inside.write(piece)
                    yield sink.taken()
            yield sink.taken()
    yield sink.taken()


def merged_card(version: PolicyVersion, lesson: RoundReport, model_name: str) -> str:
    """What the model is and how it was made, as the Hub's model cards say it."""
    about = ModelCardData(
        base_model=model_name,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["dpo", "twofold"],
    )
    return f"""---
{about.to_yaml()}
---

# twofold, version {version.id}, merged

{model_name} with the LoRA adapter of a twofold version merged into its weights, made on a person's
own machine from the replies that this person picked. It follows one person's taste; it knows
nothing that its base model does not. The licence of the base model holds for it as well.

{lesson_lines(version, lesson)}

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```

The weights may repeat what they were taught, so treat them as you would treat the chats themselves.
"""
