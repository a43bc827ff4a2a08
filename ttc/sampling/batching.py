"""Many prompts of many lengths through few compiled programs.

Prompts are padded to power-of-two lengths and grouped into batches of one size,
so a thousand prompts of 20 to 400 tokens compile at most five programs. Since a
sample does not depend on its batch, neither grouping nor order changes results.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ttc.types import Generation, Params, Prompt, SampleFn

Item = TypeVar('Item')


class Problem(NamedTuple):
  """A prompt and which of its samples are wanted."""

  tokens: Sequence[int]
  key: PRNGKeyArray  # of the problem
  sample_ids: Sequence[int]


class Batch(NamedTuple):
  """Problems that are decoded together."""

  indices: list[int]  # into the list of problems
  length: int  # that their prompts are padded to


def share(
  items: Sequence[Item], process_index: int, process_count: int
) -> list[Item]:
  """What one of several processes takes of a list: every so many-th item.

  Args:
    items: in the same order in every process.
    process_index: of this process.
    process_count: how many share the list.

  Returns:
    The items `process_index`, `process_index + process_count`, ...
  """
  return list(items[process_index::process_count])


def plan_batches(
  lengths: Sequence[int],
  batch_size: int,
  min_length: int = 32,
) -> list[Batch]:
  """Groups prompts by their length, padded to a power of two.

  Args:
    lengths: of the prompts, in tokens.
    batch_size: problems in a batch.
    min_length: shortest padded length.

  Returns:
    Batches, shortest prompts first; order is kept within a length.
  """
  buckets: dict[int, list[int]] = {}
  for index, length in enumerate(lengths):
    padded = max(min_length, 1 << (length - 1).bit_length())
    buckets.setdefault(padded, []).append(index)
  return [
    Batch(indices[i : i + batch_size], length)
    for length, indices in sorted(buckets.items())
    for i in range(0, len(indices), batch_size)
  ]


def decode_batches(
  params: Params,
  problems: Sequence[Problem],
  sample_fn: SampleFn,
  num_samples: int,
  batch_size: int,
  max_prompt_length: int,
  place: Callable = lambda arrays: arrays,
) -> Iterator[tuple[list[int], Generation]]:
  """Draws the wanted samples of every problem, batch by batch.

  Args:
    params: of the policy.
    problems: prompts, keys and the ids of the samples that are wanted.
    sample_fn: see `ttc.sampling.generate`; is jitted here.
    num_samples: most samples wanted of a problem.
    batch_size: problems in a batch.
    max_prompt_length: longest prompt that leaves room for the response.
    place: puts a pytree with leading axis `B` on devices, e.g. by sharding it.

  Yields:
    Indices of the problems of a batch and their samples as NumPy arrays,
    `[len(indices), N, ...]`, in the order of `sample_ids`; what is beyond their
    number is empty and cancelled.

  Raises:
    ValueError: if a prompt is empty or longer than `max_prompt_length`.
  """
  for index, problem in enumerate(problems):
    length = len(problem.tokens)
    if not 0 < length <= max_prompt_length:
      raise ValueError(
        f'prompt {index} has {length} tokens; 1 to {max_prompt_length} fit '
        'with the response into the context of the model'
      )
  step = jax.jit(
    lambda params, keys, prompt, sample_ids, active: sample_fn(
      params, keys, prompt, num_samples, sample_ids=sample_ids, active=active
    )
  )
  lengths = [len(problem.tokens) for problem in problems]
  for batch in plan_batches(lengths, batch_size):
    chosen = [problems[i] for i in batch.indices]
    arrays = _stack(chosen, batch, batch_size, num_samples)
    generation = jax.device_get(step(params, *place(arrays)))
    real = operator.itemgetter(slice(len(chosen)))
    yield batch.indices, jax.tree.map(real, generation)


def _stack(problems, batch, batch_size, num_samples):
  """Keys, prompt, sample ids and mask of a batch, padded to its full size."""
  tokens = np.zeros((batch_size, batch.length), np.int32)
  lengths = np.ones((batch_size,), np.int32)
  ids = np.zeros((batch_size, num_samples), np.int32)
  active = np.zeros((batch_size, num_samples), bool)
  for row, problem in enumerate(problems):
    tokens[row, : len(problem.tokens)] = problem.tokens
    lengths[row] = len(problem.tokens)
    ids[row, : len(problem.sample_ids)] = problem.sample_ids
    active[row, : len(problem.sample_ids)] = True
  keys = [problem.key for problem in problems]
  keys += [problems[0].key] * (batch_size - len(problems))
  return (
    jnp.stack(keys),
    Prompt(jnp.asarray(tokens), jnp.asarray(lengths)),
    jnp.asarray(ids),
    jnp.asarray(active),
  )
