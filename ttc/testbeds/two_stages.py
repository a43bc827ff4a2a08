"""Tasks of two stages, retrieval and reasoning, for three models.

Where even the best model reasons poorly, both stages are worth some samples.
Where it reasons well, one sample will do, and the best allocation has one of
the dearest model and all that is left of the cheapest: the ends of the axes.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import search, verifiers
from ttc.tasks import answer_world

SAMPLES = np.array([1, 2, 4, 8, 16, 32])
PRICES = np.array([1, 3, 9])  # of a sample of each model
# Retrieval is easy for all; a verifier that can be fooled picks one.
RETRIEVE = 0.8, 1.0, 1.2
# Reasoning is not; samples vote.
REASON = -0.5, 0.3, 1.2
REASON_WELL = -0.5, 0.5, 2.0
STAGES = 'retrieve', 'reason'
LOST = 0.3  # of the reasoning accuracy is left without what is retrieved
NUM_ANSWERS = 6


@functools.partial(jax.jit, static_argnums=(1, 2))
def pipeline(seed, num_problems, reason=REASON):
  """Chance to be right, `[M, K, M, K, B]`, of every allocation."""
  keys = jax.random.split(
    jax.random.fold_in(jax.random.key(4000), seed), num_problems
  )
  first = jax.vmap(functools.partial(stage, 'retrieve', RETRIEVE))(keys)
  second = jax.vmap(functools.partial(stage, 'reason', reason))(keys)
  share = jnp.where(first, 1.0, LOST)[:, :, :, None, None]
  return jnp.moveaxis(share * second[:, None, None], 0, -1)


def stage(name, edges, key):
  """Whether each model with each number of samples is right, `[M, K]`."""
  keys = jax.random.split(jax.random.fold_in(key, STAGES.index(name)), 3)
  select = {'retrieve': search.select_best, 'reason': search.majority_vote}
  answers = jax.vmap(select[name], in_axes=(None, 0))
  rows = []
  for model, edge in enumerate(edges):
    # One key for the problem: models differ by their edge alone.
    problem = answer_world.random_world(keys[0], NUM_ANSWERS, 4, edge=edge)
    draw_key = jax.random.fold_in(keys[1], model)
    paths = answer_world.draw_paths(draw_key, problem, int(SAMPLES[-1]))
    samples = answer_world.observe_paths(problem, paths)
    if name == 'retrieve':
      right = (samples.answers == 0).astype(jnp.float32)
      judge_key = jax.random.fold_in(keys[2], model)
      samples = samples._replace(
        scores=verifiers.add_noise(judge_key, 3.0 * right, 1.0)
      )
    rows.append(answers(samples, jnp.asarray(SAMPLES)).answer == 0)
  return jnp.stack(rows)
