"""A training that goes on from its last checkpoint, and makes one when told.

  with resuming.open_run(workdir, 'step') as run:
    state = run.start(init)  # or as it was saved
    ...
      run.save(done, state)

Queues that take a machine back send SIGTERM some seconds before. The run
finishes the piece of work that it is at, saves, and ends by `command.Stopped`.
Of several processes it is enough that one is told: they agree after each piece,
and save together.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import tqdm

from ttc import io
from ttc.drivers import command, processes
from ttc.io.paths import AnyPath


class Run:
  """A training and its checkpoints.

  Attributes:
    done: how far the last checkpoint reaches; 0 without one.
  """

  def __init__(self, directory: AnyPath, unit: str):
    """Opens the checkpoints; `unit` is what they count, `update`."""
    self._checkpoints = io.open_checkpoints(directory, max_to_keep=2)
    self._unit = unit
    self._told = threading.Event()
    self._bar = tqdm.tqdm(disable=True)
    self.done = self._reached = self._checkpoints.latest_step() or 0

  def start(
    self, init: Callable[..., Any], shardings: Any = None, *args: Any
  ) -> Any:
    """The state of the last checkpoint, or before all.

    Args:
      init: makes the first one; compiled here where it is to be spread.
      shardings: of the leaves, or one of all; None for a single device.
      *args: of `init`, on those devices.
    """
    shapes = jax.eval_shape(init, *args)
    if not self.done and shardings is None:
      return init(*args)
    if not self.done:
      return jax.jit(init, out_shardings=shardings)(*args)
    if shardings is not None:
      shapes = jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
        shapes,
        jax.tree.broadcast(shardings, shapes),
      )
    if processes.is_first():
      print(f'resuming from {self._unit} {self.done}')
    return io.restore_checkpoint(self._checkpoints, shapes)

  def progress(self, total: int, done: int, unit: str) -> tqdm.tqdm:
    """A bar, which ends with the run; only the first process shows it."""
    self._bar = tqdm.tqdm(
      total=total,
      initial=done,
      unit=unit,
      unit_scale=total >= 100_000,
      disable=not processes.is_first(),
    )
    return self._bar

  def is_told(self) -> bool:
    """Whether any process was told to stop; all ask at the same place."""
    if processes.is_any(self._told.is_set()):
      self._told.set()
    return self._told.is_set()

  def save(self, step: int, state: Any) -> None:
    """Saves a state in the background.

    Raises:
      command.Stopped: if any process was told to stop; the run ends when the
        state is on disk.
    """
    io.save_checkpoint(self._checkpoints, step, state)
    self._reached = step
    self.stop_if_told()

  def stop_if_told(self) -> None:
    """Raises `command.Stopped` if any process was told to."""
    if self.is_told():
      raise command.Stopped(f'stopped at {self._unit} {self._reached}')

  @contextlib.contextmanager
  def _listening(self) -> Iterator[None]:
    """Notes SIGTERM; only a main thread can."""
    if threading.current_thread() is not threading.main_thread():
      yield
      return
    before = signal.signal(signal.SIGTERM, lambda *_: self._told.set())
    try:
      yield
    finally:
      signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def open_run(workdir: AnyPath, unit: str) -> Iterator[Run]:
  """A run whose checkpoints are in a directory of the workdir.

  Args:
    workdir: held by this run.
    unit: what checkpoints count, for messages.

  Yields:
    The run. Afterwards SIGTERM ends the process as before, and all that was
    saved is on disk; of several processes not after an error of one, since
    they write together.

  Raises:
    command.Stopped: if SIGTERM came while the last state was written.
  """
  run = Run(workdir / 'checkpoints', unit)
  with run._listening():
    try:
      yield run
    except command.Stopped:
      run._checkpoints.close()
      raise
    except Exception:
      if jax.process_count() == 1:
        with contextlib.suppress(Exception):  # the first error is the cause
          run._checkpoints.close()
      raise
    finally:
      run._bar.close()
    run._checkpoints.close()
    run.stop_if_told()
