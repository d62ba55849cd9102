"""Opens the page in the person's browser, where there is a screen to show it on."""

import os
import sys
import webbrowser


def open_page(address: str) -> None:
    """Do nothing without a screen: a text browser would take over the terminal."""
    if has_screen():
        webbrowser.open(address)


def has_screen() -> bool:
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
