"""Where the tensors of a job live: on a GPU, or on the CPU, there in scratch where they are large."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdaif.collective import Collective
from kdaif.scratch import Scratch


class Workspace:
    """A device, and the scratch behind its large tensors where it is the CPU. A GPU has to hold them all.

    Args:
        device: of the tensors.
        scratch: where those on the CPU go; None keeps every one in memory.
        collective: that shares the work on them; None is the group that this process is in.
    """

    def __init__(
        self, device: torch.device, scratch: Scratch | None = None, collective: Collective | None = None
    ) -> None:
        self.device = device
        self.scratch = Scratch() if scratch is None else scratch
        self.collective = Collective.of_this_process() if collective is None else collective

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor of any values. Raises UnavailableError where the disk has no room for it."""
        if self.device.type == "cpu":
            return torch.from_numpy(self.scratch.empty(shape, numpy_dtype(dtype)))
        return torch.empty(shape, dtype=dtype, device=self.device)

    def zeros(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """A tensor of zeros. Raises as `empty`."""
        if self.device.type == "cpu":
            return torch.from_numpy(self.scratch.zeros(shape, numpy_dtype(dtype)))
        return torch.zeros(shape, dtype=dtype, device=self.device)

    def moved(self, array: NDArray[Any]) -> Tensor:
        """The array on the device; on the CPU it shares the array's memory."""
        given = torch.from_numpy(array)
        if self.device.type == "cpu":
            return given
        found = self.empty(tuple(given.shape), given.dtype)
        for rows in self.slabs(len(given), given[:1].nbytes):
            found[rows] = self._sent(given[rows])
        return found

    def on_cpu(self, tensor: Tensor) -> NDArray[Any]:
        """The tensor as an array; of one on the CPU it shares the memory."""
        if tensor.device.type == "cpu":
            shared: NDArray[Any] = tensor.detach().numpy()
            return shared
        found = self.scratch.empty(tuple(tensor.shape), numpy_dtype(tensor.dtype))
        for rows in self.slabs(len(tensor), tensor[:1].nbytes):
            found[rows] = tensor[rows].cpu().numpy()
        return found

    def take(self, tensor: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """A copy of some rows `[M, ...]` of `[N, ...]`, in any order, as `Scratch.take`."""
        if self.device.type == "cpu":
            return torch.from_numpy(self.scratch.take(tensor.numpy(), rows))
        return tensor[self._sent(torch.from_numpy(rows))]

    def put(self, tensor: Tensor, rows: NDArray[np.int64], values: Tensor) -> None:
        """`tensor[rows] = values`, as `Scratch.put`."""
        if self.device.type == "cpu":
            self.scratch.put(tensor.numpy(), rows, values.numpy())
        else:
            tensor[self._sent(torch.from_numpy(rows))] = values

    def _sent(self, tensor: Tensor) -> Tensor:
        """From the CPU to the device. To a GPU through pinned memory, so that nobody waits for the copy."""
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def slabs(self, n_rows: int, row_bytes: int) -> Iterator[slice]:
        """As `Scratch.slabs`."""
        return self.scratch.slabs(n_rows, row_bytes)

    def passes(self, n_rows: int, rows_per_pass: int) -> Iterator[slice]:
        """Runs of so many rows for a network, whose results may depend on how many it is given; released after each."""
        for start in range(0, n_rows, rows_per_pass):
            yield slice(start, min(start + rows_per_pass, n_rows))
            self.scratch.release()

    def release(self) -> None:
        """As `Scratch.release`."""
        self.scratch.release()


def numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    """What numpy calls it."""
    found: np.dtype[Any] = torch.empty(0, dtype=dtype).numpy().dtype
    return found
