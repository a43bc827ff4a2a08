r"""Words of S3 of three difficulties: a small model that revises.

The first of eight factors says how hard a word is: a product of an attempt is
wrong with probability .03, .1 or .2. Behind an attempt and `AGAIN` the model
copies the attempt with probability .6, and else makes a fresh one that errs
half as often; behind `GOOD` it copies with probability .9, behind `BAD` with
.1. So the chance of a right answer follows a Markov chain,

.. math:: p_{t + 1} = k p_t + (1 - k) p',

and a revision need not see more than one attempt.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from ttc import models, tasks
from ttc.testbeds.train import Directory, Recipe, trained_transformer
from ttc.testbeds.world import Size

LENGTH, NUM_VALUES = 8, 6
NUM_CONTEXT = 1  # attempts that a revision sees
NOISE = np.array([0.03, 0.1, 0.2])  # easy, medium, hard
FRESH = 0.5  # of the noise in a revision
TASK = tasks.permutation_word_problem('s3', LENGTH)
AGAIN, GOOD, BAD = range(TASK.vocab_size, TASK.vocab_size + 3)
KEEP = {AGAIN: 0.6, GOOD: 0.9, BAD: 0.1}
CAPACITY = TASK.response_length
MODEL = models.TransformerConfig(
  vocab_size=TASK.vocab_size + 3,
  num_layers=2,
  embed_dim=64,
  mlp_dim=176,
  num_heads=4,
  num_kv_heads=4,
  head_dim=16,
  max_length=48,
)


def reviser(seed: int, size: Size, cache: Directory) -> models.Loaded:
  """The model that revises; trained in a minute."""
  return trained_on(sequence, 'reviser', 3000, MODEL, seed, size, cache)


def trained_on(
  sequence: Callable,
  name: str,
  num_steps: int,
  config: models.TransformerConfig,
  seed: int,
  size: Size,
  cache: Directory,
) -> models.Loaded:
  """A model of sequences `key -> (tokens, which of them to learn)`."""
  batch_fn = lambda key: jax.vmap(sequence)(jax.random.split(key, 64))
  recipe = Recipe((size.steps(num_steps),))
  return trained_transformer(name, config, recipe, [batch_fn], seed, cache)


def level(problem):
  """How hard a problem is: 0, 1 or 2."""
  return (problem.prompt[0] - 3) // 2


def accuracies():
  """`[3]` chances of a right first attempt, and of a right fresh revision."""
  law = lambda noise: tasks.noisy_chain_accuracy(noise, LENGTH, NUM_VALUES)
  return law(NOISE), law(FRESH * NOISE)


def attempt(key, problem, noise):
  """A trace of the problem with noise."""
  where_key, what_key = jax.random.split(key)
  shape = problem.data.steps.shape[:1]
  errs = jax.random.bernoulli(where_key, noise, shape)
  offset = jax.random.randint(what_key, shape, 1, NUM_VALUES)

  def step(value, inputs):
    table, error = inputs
    value = (table[value] + error) % NUM_VALUES
    return value, value

  _, values = jax.lax.scan(
    step, problem.data.start, (problem.data.steps, jnp.where(errs, offset, 0))
  )
  return jnp.append(3 + values, TASK.eos_id)


def written(
  block: Int[Array, '*A'], kept: Bool[Array, '*A'], ending: Int[Array, ' E']
) -> tuple[Int[Array, ' T'], Int[Array, ' T']]:
  """What is kept of a block, in order, with an ending behind it and zeros.

  Returns:
    `block.size + E` tokens, and their places counted from the ending's first.
  """
  order = jnp.argsort(~kept.reshape(-1), stable=True)
  E = ending.size
  stream = jnp.pad(block.reshape(-1)[order], (0, E))
  at = jnp.arange(stream.size) - jnp.sum(kept)
  stream = jnp.where(at < 0, stream, ending[jnp.clip(at, 0, E - 1)])
  return jnp.where(at < E, stream, 0), at


def sequence(key):
  """`word = attempt feedback attempt`, and which tokens to learn of it.

  The first of the two is a first attempt, or, in half of the sequences, a fresh
  revision that is given and not learned.
  """
  keys = jax.random.split(key, 6)
  problem = tasks.on_split(TASK, 'train').generate(keys[0])
  noise = jnp.asarray(NOISE)[level(problem)]
  is_first = jax.random.bernoulli(keys[1])
  last = attempt(keys[2], problem, jnp.where(is_first, 1.0, FRESH) * noise)
  which = jax.random.randint(keys[3], (), 0, 4)
  feedback = jnp.array([AGAIN, AGAIN, GOOD, BAD])[which]
  keep = jnp.array([KEEP[AGAIN], KEEP[AGAIN], KEEP[GOOD], KEEP[BAD]])[which]
  fresh = attempt(keys[4], problem, FRESH * noise)
  revision = jnp.where(jax.random.bernoulli(keys[5], keep), last, fresh)
  tokens = jnp.concatenate([problem.prompt, last, feedback[None], revision])
  place = jnp.arange(tokens.size) - problem.prompt.size
  in_first = (place >= 0) & (place < last.size)
  return tokens, (place > last.size) | (is_first & in_first)
