"""The images of a source that has many, such as a plate, opened one by one."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING, overload

from ngff_convert.model import Image

if TYPE_CHECKING:
    from collections.abc import Callable


class ImagesOnDemand(Sequence[Image]):
    """Images that are opened when they are asked for, each once.

    Parameters
    ----------
    count
        How many there are.
    open_image
        Opens one by its number.
    """

    def __init__(self, count: int, open_image: Callable[[int], Image]) -> None:
        self._count, self._open_image = count, open_image
        self._opened: dict[int, Image] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Image: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Image]: ...

    def __getitem__(self, index: int | slice) -> Image | Sequence[Image]:
        numbers = range(self._count)[index]
        if isinstance(numbers, range):
            return [self[number] for number in numbers]
        with self._lock:
            if numbers not in self._opened:
                self._opened[numbers] = self._open_image(numbers)
            return self._opened[numbers]
