"""What to do when a GPU's memory does not hold a batch: find the batch that it holds, and say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.nn import functional

from toolkit.errors import InputError
from toolkit.preprocess import Stream
from toolkit.train.config import TrainConfig
from toolkit.train.initial import untrained_network

Try = Callable[[int], None]
"""Takes one training step with so many clips, or raises `torch.OutOfMemoryError`."""


@contextmanager
def memory_advice(config: TrainConfig, stream: Stream, classes: int, device: torch.device) -> Iterator[None]:
    """Turn a lack of memory into an InputError that names the largest batch that fits."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error).splitlines()[0] if str(error) else "out of memory"
    else:
        return
    # Outside the handler: the error's traceback holds the tensors that fill the memory.
    torch.cuda.empty_cache()
    fits = largest_batch(config.batch - 1, lambda batch: _try_step(config, stream, classes, device, batch))
    found = f"{config.batch} clips of {stream} do not fit ({reason})"
    if fits == 0:
        raise InputError(
            f"{found}, nor does one. Train on a GPU with more memory, free it of other programs, or choose a smaller "
            "crop or architecture."
        )
    raise InputError(
        f"{found}; {fits} do. Pass --batch {fits}, perhaps with a learning rate lower in proportion, use --amp, or "
        "share the batch among several GPUs with torchrun."
    )


def largest_batch(most: int, attempt: Try) -> int:
    """Return the largest batch up to `most` whose training step fits, by bisection; 0 if none does."""
    fits, too_many = 0, most + 1
    while too_many - fits > 1:
        batch = (fits + too_many) // 2
        try:
            attempt(batch)
            fits = batch
        except torch.OutOfMemoryError:
            too_many = batch
    return fits


def _try_step(config: TrainConfig, stream: Stream, classes: int, device: torch.device, batch: int) -> None:
    torch.cuda.empty_cache()
    spec = config.stream_input(stream)
    network = untrained_network(config, stream, classes).to(device)
    clips = torch.zeros(batch, spec.channels, config.clip.frames, spec.crop, spec.crop, device=device)
    loss = functional.cross_entropy(network(clips), torch.zeros(batch, dtype=torch.int64, device=device))
    loss.backward()  # type: ignore[no-untyped-call]
    # Beside weights and gradients, training keeps momentum, and a second moment or an average: room for both.
    held = [torch.zeros_like(parameter) for parameter in network.parameters() for _ in range(2)]
    del held
