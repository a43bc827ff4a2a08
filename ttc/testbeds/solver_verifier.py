"""One model solves words of S3 and verifies what it wrote.

Asked about its own solution it works out what each product should have been,
given the one written before it, with the same chance of error per product as
when it solves. It says no at the first that differs from what is written, and
yes if none does.
"""

import jax
import jax.numpy as jnp

from ttc import models, tasks, verifiers
from ttc.tasks.token_task import FIRST_ID
from ttc.testbeds.calibrated import LENGTH, NOISE, NUM_VALUES, TASK
from ttc.testbeds.train import Directory, Recipe, trained_transformer
from ttc.testbeds.world import Size

ASK, YES, NO = range(TASK.vocab_size, TASK.vocab_size + 3)
QUESTION = verifiers.Question((ASK,), YES, NO, (TASK.eos_id,))
CHECK_LENGTH = LENGTH + 1  # a product for each product, and the verdict
CONFIG = models.TransformerConfig(
  vocab_size=NO + 1,
  num_layers=2,
  embed_dim=64,
  mlp_dim=176,
  num_heads=4,
  num_kv_heads=4,
  head_dim=16,
  max_length=64,
)


def solver_verifier(seed: int, size: Size, cache: Directory) -> models.Loaded:
  """The model; trained on noisy solutions and noisy verifications of them."""
  train_task = tasks.on_split(TASK, 'train')

  def batch_fn(key):
    draw = lambda key: verified_sequence(train_task, key)
    return jax.vmap(draw)(jax.random.split(key, 64))

  recipe = Recipe((size.steps(2500),))
  return trained_transformer('genrm', CONFIG, recipe, [batch_fn], seed, cache)


def verified_sequence(task, key):
  """A problem, a noisy solution, the question, a noisy verification of it."""
  problem_key, *keys = jax.random.split(key, 3)
  problem = task.generate(problem_key)
  written = problem.trace[:LENGTH]
  check = verification(keys, problem, written, NOISE)
  sequence = tasks.training_sequence(problem)
  tokens = jnp.concatenate([sequence.tokens, jnp.array([ASK]), check])
  learned = jnp.concatenate(
    [sequence.is_trace, jnp.array([False]), check != TASK.pad_id]
  )
  return tokens, learned


def verification(keys, problem, written, noise):
  """`[LENGTH + 1]` products as they should have been, with noise.

  It ends with a no behind the first product that differs from the written one.
  With one verdict behind all products, whether they agree was not learned in as
  many steps.
  """
  where_key, what_key = keys
  written = written - FIRST_ID
  before = jnp.append(problem.data.start, written[:-1])
  due = problem.data.steps[jnp.arange(LENGTH), before]
  other = due + jax.random.randint(what_key, due.shape, 1, NUM_VALUES)
  errs = jax.random.bernoulli(where_key, noise, due.shape)
  checked = jnp.where(errs, other % NUM_VALUES, due)
  differs = checked != written
  is_right = ~jnp.any(differs)
  end = jnp.where(is_right, LENGTH, jnp.argmax(differs) + 1)
  position = jnp.arange(CHECK_LENGTH)
  check = jnp.append(checked + FIRST_ID, 0)
  check = jnp.where(position == end, jnp.where(is_right, YES, NO), check)
  return jnp.where(position <= end, check, TASK.pad_id)
