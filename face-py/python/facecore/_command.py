"""The console script ``face``: the same command as the Rust one, and the same code."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys

from . import _native, models

__all__ = ["main"]


def main() -> int:
    """Runs the command on the process's arguments, and returns its exit status."""
    # Python would keep Ctrl-C back until the command has ended.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if importlib.util.find_spec("pip") is not None:
        os.environ.setdefault("FACE_PYTHON", sys.executable)
    if models._BUNDLE.is_dir():
        os.environ.setdefault("FACE_MODELS", str(models._BUNDLE))
    return _native.run_command(["face", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
