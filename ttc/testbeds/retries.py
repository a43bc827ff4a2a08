"""Words of S3 solved in up to four attempts, some of them copies.

An episode is an attempt: four products, each of which errs with probability .2,
and `NEXT`. Half of the attempts behind the first are `COPY` and the one before
once more, which brings nothing. After one to four attempts the answer is what
most of them ended with, the latest of equals. So episodes can make progress:
the chance that a forced answer is right grows with every fresh attempt, and not
with copies; one trace in twenty answers at once, so that it may be forced there
as well.
"""

import dataclasses

import jax
import jax.numpy as jnp

from ttc import models, tasks
from ttc.testbeds.revision import MODEL, attempt, trained_on, written
from ttc.testbeds.train import Directory
from ttc.testbeds.world import Size

LENGTH, NUM_VALUES, NOISE, MOST = 4, 6, 0.2, 4
TASK = tasks.permutation_word_problem('s3', LENGTH)
NEXT, COPY, ANSWER = range(TASK.vocab_size, TASK.vocab_size + 3)
COPIES, AT_ONCE = 0.5, 0.05
_BLOCK = LENGTH + 2  # COPY, the products, NEXT
CAPACITY = MOST * _BLOCK + 3  # of the longest response
NUM_STEPS = 2000
CONFIG = dataclasses.replace(
  MODEL,
  vocab_size=TASK.vocab_size + 3,
  max_length=TASK.prompt_length + CAPACITY,
)
_FIRST = 3  # token of value 0


def base(seed: int, size: Size, cache: Directory) -> models.Loaded:
  """The model; trained in a minute."""
  return trained_on(sequence, 'retries', NUM_STEPS, CONFIG, seed, size, cache)


def sequence(key: jax.Array) -> tuple[jax.Array, jax.Array]:
  """A problem with attempts and an answer, and which tokens are learned."""
  keys = jax.random.split(key, 5)
  problem = tasks.on_split(TASK, 'train').generate(keys[0])
  fresh = jax.vmap(lambda key: attempt(key, problem, NOISE)[:-1])(
    jax.random.split(keys[1], MOST)
  )
  copies = jax.random.bernoulli(keys[2], COPIES, (MOST,)).at[0].set(False)

  def once_more(last, now):
    values, is_copy = now
    values = jnp.where(is_copy, last, values)
    return values, values

  _, values = jax.lax.scan(once_more, fresh[0], (fresh, copies))
  count = jax.random.randint(keys[3], (), 1, MOST + 1)
  count = jnp.where(jax.random.bernoulli(keys[4], AT_ONCE), 0, count)
  edge = lambda token: jnp.full((MOST, 1), token)
  block = jnp.concatenate([edge(COPY), values, edge(NEXT)], axis=1)
  counted = jnp.arange(MOST)[:, None] < count
  kept = counted & ((jnp.arange(_BLOCK) > 0) | copies[:, None])
  answer = _vote(values[:, -1], count, problem)
  ending = jnp.stack([jnp.int32(ANSWER), answer, jnp.int32(TASK.eos_id)])
  response, at = written(block, kept, ending)
  tokens = jnp.concatenate([problem.prompt, response])
  learned = jnp.append(jnp.zeros(problem.prompt.size, bool), at < 3)
  return tokens.astype(jnp.int32), learned


def _vote(ends, count, problem):
  """The token of the most frequent end, the latest of equals."""
  counted = jnp.arange(MOST) < count
  votes = jnp.sum((ends[:, None] == ends) & counted, axis=1)
  ranked = jnp.where(counted, MOST * votes + jnp.arange(MOST), -1)
  told = ends[jnp.argmax(ranked)]
  return jnp.where(count == 0, _FIRST + problem.answer, told)
