"""What every test gets: no network, one thread per process, checked shapes, a fixed hypothesis."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Hugging Face and OpenMP read these once, when they are first imported by a test.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny matrices; pools of two processes would fight
for name in [name for name in os.environ if name.startswith("TWOFOLD_")]:
    if name not in ("TWOFOLD_CACHE", "TWOFOLD_DATA", "TWOFOLD_REQUIRE_BROWSER"):
        del os.environ[name]  # a person's own settings are no part of a test

# A shell starts what runs in the background with Ctrl+C ignored, and tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# jaxtyping's shapes are checked on each call of the learner: in tests only, free in production.
install_import_hook("learner", "beartype.beartype")

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", parent=settings.get_profile("ci"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of preference data, which is no part of the repository."""
    folder = Path(os.environ.get("TWOFOLD_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no preference data here: set TWOFOLD_DATA to the folder that has it")
    return folder


@pytest.fixture(scope="session")
def default_model():
    """The built-in model, unpacked once per environment."""
    from learner.model_source import resolve_model

    return resolve_model()
