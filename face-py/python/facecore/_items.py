"""A sequence over a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, overload

__all__ = ["Items"]

T = TypeVar("T")


class Items(Sequence[T]):
    """What results are that hold several things; a slice is a list."""

    def __init__(self, items: list[T]) -> None:
        self._items = items

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)
