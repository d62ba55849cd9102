"""``make`` and its environment: made once, and anew where it cannot be used."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# In place of Python: an environment is a copy of the folder that VENV names.
PYTHON = """#!/bin/sh
test "$1" = -c && exit
echo "python $@"
rm -rf .venv && cp -r $VENV .venv
test $VENV = whole
"""
TELLS = '#!/bin/sh\necho "$(basename "$0") $@"\n'
MADE = "python -m venv --clear .venv"
INSTALLED = "pip install -qq --requirement requirements.lock"
INSTALLED_DEV = "pip install -qq --requirement requirements-dev.lock"
Make = Callable[..., str]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """What ``make`` says, in a folder where nothing is really installed."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "requirements-dev.lock"):
        shutil.copy(ROOT / name, tmp_path)
    script(tmp_path / "python", PYTHON)
    script(tmp_path / "half" / "bin" / "python", "#!/bin/sh\nexit 1\n")
    script(tmp_path / "whole" / "bin" / "python", "#!/bin/sh\n")
    for name in ("pip", "ruff", "twofold"):
        script(tmp_path / "whole" / "bin" / name, TELLS)

    def run(target: str, venv: str = "whole") -> str:
        surroundings = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
        return subprocess.run(  # noqa: S603
            ["make", target, "PYTHON=./python"],  # noqa: S607
            cwd=tmp_path,
            env=surroundings | {"VENV": venv},
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    return run


def test_an_environment_is_made_once(make: Make):
    said = make("chat")
    assert MADE in said and INSTALLED in said and "twofold serve --open" in said
    assert make("chat") == "twofold serve --open\n"
    assert INSTALLED_DEV in make("lint")
    assert make("lint") == "ruff check .\nruff format --check .\n"


def test_one_that_was_left_half_made_is_made_anew(make: Make):
    assert "twofold" not in make("chat", venv="half")
    said = make("chat")
    assert MADE in said and INSTALLED in said and "twofold serve --open" in said


@pytest.mark.parametrize("target", ["chat", "lint"])
def test_one_whose_python_is_gone_is_made_and_filled_anew(make: Make, tmp_path: Path, target: str):
    make("lint")
    python = tmp_path / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(tmp_path / "removed" / "python3")
    said = make(target)
    assert said.count(MADE) == 1 and INSTALLED in said
    assert (INSTALLED_DEV in said) is (target == "lint")


def test_a_good_one_of_an_earlier_makefile_is_kept(make: Make, tmp_path: Path):
    shutil.copytree(tmp_path / "whole", tmp_path / ".venv")
    (tmp_path / ".venv" / ".ready-1").touch()
    said = make("chat")
    assert MADE not in said and INSTALLED in said
    assert make("chat") == "twofold serve --open\n"
