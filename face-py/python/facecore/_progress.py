"""Progress bars on long work, by tqdm where it is installed."""

from __future__ import annotations

import sys
from typing import Any, Protocol

__all__ = ["Bar", "bar"]


class Bar(Protocol):
    """What is used of tqdm."""

    n: Any
    total: Any

    def update(self, n: int = 1) -> Any: ...
    def refresh(self) -> Any: ...
    def close(self) -> Any: ...
    def set_postfix_str(self, s: str = "", refresh: bool = True) -> Any: ...


class _NoBar:
    n: Any = 0
    total: Any = None

    def update(self, n: int = 1) -> None:
        pass

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        pass

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        pass


def bar(what: str, total: int | None, unit: str, progress: bool | None, **options: Any) -> Bar:
    """A bar; without ``progress`` being given, only where somebody is looking and tqdm is installed."""
    if progress is False or (progress is None and not _is_watched()):
        return _NoBar()
    try:
        from tqdm.auto import tqdm
    except ImportError:
        if progress:
            raise ImportError("progress=True needs tqdm: pip install tqdm") from None
        return _NoBar()
    made: Bar = tqdm(desc=what, total=total, unit=unit, **options)
    return made


def _is_watched() -> bool:
    # A notebook's kernel has no terminal, and somebody in front of it.
    return "ipykernel" in sys.modules or bool(getattr(sys.stderr, "isatty", lambda: False)())
