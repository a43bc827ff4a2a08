"""Long prompts: seconds and memory of reading them, in blocks and in one piece.

Both are our reference, also where prompts go through another's kernel; that is
timed beside it by `bench_kernels`.
Each measurement has a process of its own, whose peak of memory is its own too.
"""

import concurrent.futures
import functools
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ttc import models, sampling
from ttc.io import files
from ttc.kernels.causal_attention import causal_attention
from ttc.models import layer_cache
from ttc.models.published import TINY
from ttc.types import Prompt

_ALL = 2**62  # more logits than there ever are


class Measured(NamedTuple):
  """Of one length; gigabytes are of the whole process."""

  seconds: float  # median; without compilation
  before_gb: float  # the peak before the prompt was read, weights included
  peak_gb: float


def bench_prefill(
  name: str | None,
  lengths: Sequence[int],
  *,
  repetitions: int = 3,
  out: files.Path | None = None,
) -> None:
  """Measures all and prints a table.

  Args:
    name: of a model, see `models.load`; None for a tiny one.
    lengths: tokens of a prompt.
    repetitions: timed readings of each.
    out: JSON file for every figure; rewritten after each length.

  Raises:
    ValueError: for a length that the model does not take.
  """
  rows = []
  print('| tokens | in blocks, s | GB | in one piece, s | GB |')
  print('| --- | --- | --- | --- | --- |')
  for length in lengths:
    row: dict[str, Any] = {'tokens': length}
    for way in ('blocks', 'one_piece'):
      row[way] = _alone(measure, name, length, way, repetitions)._asdict()
    rows.append(row)
    cells = [
      f'{row[way][figure]:.2f}'
      for way in ('blocks', 'one_piece')
      for figure in ('seconds', 'peak_gb')
    ]
    print(f'| {length} | {" | ".join(cells)} |', flush=True)
    if out is not None:
      files.write_atomically(out, files.to_json(rows, indent=2) + '\n')
  print(f'\nBefore the prompt {rows[0]["blocks"]["before_gb"]:.2f} GB.')


def measure(
  name: str | None, length: int, way: str, repetitions: int
) -> Measured:
  """Reads one prompt of so many tokens in this process."""
  if way == 'one_piece':
    from ttc.kernels.shared_prefix_attention import reference

    reference._MOST_LOGITS_OF_ROW = reference._MOST_LOGITS = _ALL
  if name is None:
    model = models.transformer(TINY)
    params = jax.jit(model.init)(jax.random.key(0))
  else:
    model, params, *_ = models.load(name)
  if length >= model.max_length:
    raise ValueError(
      f'--lengths: {length} must be below the {model.max_length} of the model'
    )
  layer_cache.causal_attention = functools.partial(
    causal_attention, implementation='xla'
  )
  jax.block_until_ready(params)
  before = _peak_gb()
  prompt = Prompt(
    jnp.ones((1, length), jnp.int32), jnp.array([length], jnp.int32)
  )
  seconds = []
  for _ in range(1 + repetitions):
    start = time.perf_counter()
    state = sampling.prefill(model, params, prompt, 1, 1)
    jax.block_until_ready(state.prefix_logits)
    seconds.append(time.perf_counter() - start)
  return Measured(statistics.median(seconds[1:]), before, _peak_gb())


def _alone(function: Callable[..., Any], *args: Any) -> Any:
  """What a function returns in a process of its own."""
  context = multiprocessing.get_context('spawn')
  with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
    return pool.submit(function, *args).result()


def _peak_gb() -> float:
  """The most memory that this process ever had."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
