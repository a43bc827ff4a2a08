"""A small model that thinks as long as it may, and refines an answer it sees.

Words of S3 of eight factors. Behind `word = answer =` a trace errs half as
often, and the answer is the one seen with probability .6.
"""

import jax
import jax.numpy as jnp

from ttc import models, tasks
from ttc.testbeds.revision import LENGTH, MODEL, attempt, trained_on
from ttc.testbeds.train import Directory
from ttc.testbeds.world import Size

NOISE, FRESH, KEEP = 0.1, 0.05, 0.6  # errors at first, of a revision; copies
TASK = tasks.permutation_word_problem('s3', LENGTH)
EQUALS, END = TASK.words.index('='), TASK.vocab_size  # END of the thinking


def refiner(seed: int, size: Size, cache: Directory) -> models.Loaded:
  """The model; trained in a minute."""
  return trained_on(sequence, 'thinker', 3000, MODEL, seed, size, cache)


def sequence(key):
  """`word = [answer =] thoughts END answer EOS`, and what to learn of it.

  Half see an answer; then the trace errs half as often, and the answer is the
  one seen with probability .6. Half of the thinking is cut at random, with END
  given.
  """
  keys = jax.random.split(key, 7)
  problem = tasks.on_split(TASK, 'train').generate(keys[0])
  sees = jax.random.bernoulli(keys[1])
  seen = attempt(keys[2], problem, NOISE)[LENGTH - 1]
  trace = attempt(keys[3], problem, jnp.where(sees, FRESH, NOISE))
  keeps = sees & jax.random.bernoulli(keys[4], KEEP)
  answer = jnp.where(keeps, seen, trace[LENGTH - 1])
  whole = jax.random.bernoulli(keys[5])
  cut = jax.random.randint(keys[6], (), 1, LENGTH + 1)
  m = jnp.where(whole, LENGTH, cut)
  t = jnp.arange(LENGTH + 3)
  response = jnp.where(t < m, trace[jnp.minimum(t, LENGTH - 1)], 0)
  for offset, token in enumerate((END, answer, TASK.eos_id)):
    response = jnp.where(t == m + offset, token, response)
  learned = (t < m + 3) & ((t != m) | (m == LENGTH))
  start = problem.prompt.size
  given = jnp.concatenate([problem.prompt, jnp.stack([seen, EQUALS])])
  place = jnp.arange(given.size + response.size)
  behind = place - jnp.where(sees, start + 2, start)
  at = lambda x: x[jnp.clip(behind, 0, response.size - 1)]
  is_response = (behind >= 0) & (behind < response.size)
  prefix = jnp.pad(given, (0, response.size))
  return (
    jnp.where(is_response, at(response), jnp.where(behind < 0, prefix, 0)),
    is_response & at(learned),
  )
