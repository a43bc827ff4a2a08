"""Students and items of the two-parameter model, with times.

Harder items take longer, and students are quicker or slower. What is known of
an item is what some students did with it; forms are judged by other students.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ttc.benchmarks import item_response
from ttc.benchmarks.item_response import ItemResponseModel


class Classroom(NamedTuple):
  """A reference test, a pool, what is known of them, and new students."""

  model: ItemResponseModel  # of the calibration; items of reference, then pool
  responses: jax.Array  # [S, M + N] of the calibration
  reference: jax.Array  # [M, 2] accuracy and log time, as measured
  pool: jax.Array  # [N, 2]
  new: jax.Array  # [S, M + N] responses of other students
  twin: jax.Array  # [S, M] of these to items of the reference's own parameters


def classroom(
  key: jax.Array,
  num_students: int,
  num_items: int,
  pool_size: int,
  easier: float = 0.4,
) -> Classroom:
  """A class of students for calibration, and one for the verdict.

  Args:
    key: random key, consumed.
    num_students: of each class.
    num_items: of the reference.
    pool_size: items to choose from.
    easier: logits that the reference is easier than the pool, as tests of a
      grade are.
  """
  keys = jax.random.split(key, 7)
  total = num_items + pool_size
  easy = 0.8 * jax.random.normal(keys[0], (total,)) - 0.3
  easy = easy.at[:num_items].add(-easier)
  truth = ItemResponseModel(
    jax.random.normal(keys[1], (num_students,)),
    jnp.exp(0.3 * jax.random.normal(keys[2], (total,))),
    easy,
  )

  def answers(key, model):
    chance = jax.nn.sigmoid(item_response.response_logits(model))
    return jax.random.bernoulli(key, chance).astype(jnp.float32)

  responses = answers(keys[3], truth)
  speed, noise = jax.random.split(keys[4])
  log_time = (
    3
    + 0.4 * truth.difficulty
    + 0.3 * jax.random.normal(speed, (num_students, 1))
  )
  log_time += 0.5 * jax.random.normal(noise, (num_students, total))
  known = item_response.item_statistics(responses, jnp.exp(log_time))
  features = jnp.stack([known.accuracy, known.log_time], axis=1)
  others = truth._replace(ability=jax.random.normal(keys[5], (num_students,)))
  new_key, twin_key = jax.random.split(keys[6])
  same = jax.tree.map(lambda x: x[:num_items], others)._replace(
    ability=others.ability
  )
  return Classroom(
    truth,
    responses,
    features[:num_items],
    features[num_items:],
    answers(new_key, others),
    answers(twin_key, same),
  )
