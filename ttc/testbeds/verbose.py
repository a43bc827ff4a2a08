"""Words of S3 solved at length: each product is written once to three times.

Half of the traces are concise. In the others a product is followed by up to two
repetitions, `AGAIN` and the product, which bring nothing. Each product errs
with probability .1, as in `calibrated`. A response ends with `ANSWER`, one
token, and the end token; three traces in ten break off after some product and
have the answer that would be right from there, so that `ANSWER` may be forced
at any time. Long traces are harder to follow: the traces are right in 47%, the
model in 31 to 45%, more often where it is brief.
"""

import dataclasses

import jax
import jax.numpy as jnp

from ttc import models, tasks
from ttc.testbeds.revision import MODEL, trained_on, written
from ttc.testbeds.train import Directory
from ttc.testbeds.world import Size

LENGTH, NUM_VALUES, NOISE, MOST_WRITTEN = 8, 6, 0.1, 3
TASK = tasks.permutation_word_problem('s3', LENGTH, noise=NOISE)
AGAIN, ANSWER = range(TASK.vocab_size, TASK.vocab_size + 2)
CAPACITY = LENGTH * (2 * MOST_WRITTEN - 1) + 3  # of the longest response
BREAKS = 0.3  # share of the traces that break off
NUM_STEPS = 2000
CONFIG = dataclasses.replace(
  MODEL,
  vocab_size=TASK.vocab_size + 2,
  max_length=TASK.prompt_length + CAPACITY,
)
_FIRST = 3  # token of value 0


def base(seed: int, size: Size, cache: Directory) -> models.Loaded:
  """The model; trained in a minute and a half."""
  return trained_on(sequence, 'verbose', NUM_STEPS, CONFIG, seed, size, cache)


def sequence(key: jax.Array) -> tuple[jax.Array, jax.Array]:
  """A problem with a trace of these, and which tokens are to be learned."""
  keys = jax.random.split(key, 5)
  problem = tasks.on_split(TASK, 'train').generate(keys[0])
  values = problem.trace[:LENGTH]  # with the errors of the trace
  repeats = jax.random.randint(keys[1], (LENGTH,), 0, MOST_WRITTEN)
  repeats = jnp.where(jax.random.bernoulli(keys[2]), repeats, 0)
  breaks = jax.random.bernoulli(keys[3], BREAKS)
  last = jax.random.randint(keys[4], (), 1, LENGTH)  # products that are written
  last = jnp.where(breaks, last, LENGTH)
  right_from_there = _finish(problem, values, last)

  # A block of five places for each product, those that are written kept.
  again = jnp.full((LENGTH,), AGAIN)
  block = jnp.stack([values, again, values, again, values], axis=1)
  place = jnp.arange(2 * MOST_WRITTEN - 1)
  kept = (place <= 2 * repeats[:, None]) & (jnp.arange(LENGTH)[:, None] < last)
  ending = jnp.array([ANSWER, 0, TASK.eos_id]).at[1].set(right_from_there)
  response, at = written(block, kept, ending)
  tokens = jnp.concatenate([problem.prompt, response]).astype(jnp.int32)
  # To break off is not to be learned.
  learned = (at < 3) & ~((at == 0) & breaks)
  return tokens, jnp.append(jnp.zeros(problem.prompt.size, bool), learned)


def _finish(problem, values, last):
  """The token of the product of what is left, from the last one written."""

  def step(value, inputs):
    table, i = inputs
    return jnp.where(i < last, value, table[value]), None

  start = values[last - 1] - _FIRST
  inputs = (problem.data.steps, jnp.arange(LENGTH))
  return _FIRST + jax.lax.scan(step, start, inputs)[0]
