r"""What students know and items ask: the two-parameter logistic model.

.. math:: P(x_{ij} = 1) = \sigma(a_j (\theta_i - b_j))

Birnbaum, 1968; priors and use as in "K-12 parallel tests", arXiv 2310.06837.
Fit by the largest posterior with :math:`\theta \sim N(0, 1)`, :math:`\log a
\sim N(0, .5^2)`, :math:`b \sim N(0, 2^2)`.

Cost: `S J` operations a step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float


class ItemResponseModel(NamedTuple):
  """Two-parameter logistic model of `S` students and `J` items."""

  ability: Float[Array, ' S']
  discrimination: Float[Array, ' J']  # positive
  difficulty: Float[Array, ' J']


class ItemStatistics(NamedTuple):
  """What an item is matched by, and what it is left out by."""

  accuracy: Float[Array, ' J']
  log_time: Float[Array, ' J']  # median, log seconds
  ambiguity: Float[Array, ' J']  # disagreement of strong students, 0..1


def response_logits(model: ItemResponseModel) -> Float[Array, 'S J']:
  """Log-odds that students answer items rightly."""
  gap = model.ability[:, None] - model.difficulty[None, :]
  return model.discrimination[None, :] * gap


def log_posterior(
  model: ItemResponseModel,
  responses: Float[Array, 'S J'],
  seen: Bool[Array, 'S J'],
) -> Float[Array, '']:
  """Log-likelihood of what was seen and log-density of priors, up to constants.

  Args:
    model: its parameters.
    responses: 1 where right, else 0.
    seen: False where a student was not asked.
  """
  logits = response_logits(model)
  likelihood = responses * jax.nn.log_sigmoid(logits) + (
    1 - responses
  ) * jax.nn.log_sigmoid(-logits)
  prior = lambda x, scale: -jnp.sum((x / scale) ** 2) / 2
  return (
    jnp.sum(jnp.where(seen, likelihood, 0.0))
    + prior(model.ability, 1.0)
    + prior(jnp.log(model.discrimination), 0.5)
    + prior(model.difficulty, 2.0)
  )


def fit_item_response(
  responses: Float[Array, 'S J'],
  seen: Bool[Array, 'S J'] | None = None,
  num_steps: int = 400,
  *,
  learning_rate: ArrayLike = 0.1,
) -> ItemResponseModel:
  """Fits the model by Adam on the posterior, all at once.

  Args:
    responses: 1 where right, else 0; anything where not seen.
    seen: False where a student was not asked; None for all.
    num_steps: of Adam; static.
    learning_rate: falls to 0 by a cosine.

  Returns:
    The parameters of the largest posterior.
  """
  num_students, num_items = responses.shape
  mask = jnp.ones(responses.shape, bool) if seen is None else seen
  answers = jnp.where(mask, responses, 0.0).astype(jnp.float32)

  def loss(params):
    model = ItemResponseModel(params[0], jnp.exp(params[1]), params[2])
    return -log_posterior(model, answers, mask) / num_students

  optimizer = optax.scale_by_adam()
  params = (
    jnp.zeros(num_students, jnp.float32),
    jnp.zeros(num_items, jnp.float32),
    jnp.zeros(num_items, jnp.float32),
  )

  def step(carry, index):
    params, state = carry
    updates, state = optimizer.update(jax.grad(loss)(params), state)
    rate = learning_rate * (1 + jnp.cos(jnp.pi * index / num_steps)) / 2
    params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
    return (params, state), None

  steps = jnp.arange(num_steps, dtype=jnp.float32)
  (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), steps)
  return ItemResponseModel(params[0], jnp.exp(params[1]), params[2])


def estimate_ability(
  model: ItemResponseModel,
  responses: Float[Array, 'S J'],
  seen: Bool[Array, 'S J'] | None = None,
  num_steps: int = 20,
) -> Float[Array, ' S']:
  """Abilities of new students from the items that they were asked.

  Args:
    model: whose items are known.
    responses: of the new students.
    seen: as in `fit_item_response`.
    num_steps: of Newton's method, which is safe here: the posterior is
      log-concave in an ability; static.
  """
  mask = jnp.ones(responses.shape, bool) if seen is None else seen
  a, b = model.discrimination, model.difficulty

  def step(ability, _):
    chance = jax.nn.sigmoid(a * (ability[:, None] - b))
    slope = jnp.where(mask, a * (responses - chance), 0.0).sum(1) - ability
    bend = jnp.where(mask, a**2 * chance * (1 - chance), 0.0).sum(1) + 1
    return ability + jnp.clip(slope / bend, -1.0, 1.0), None

  start = jnp.zeros(responses.shape[0], jnp.float32)
  return jax.lax.scan(step, start, length=num_steps)[0]


def item_statistics(
  responses: Float[Array, 'S J'],
  seconds: Float[Array, 'S J'],
  strong_share: float = 0.25,
) -> ItemStatistics:
  """Difficulty, time and ambiguity of items.

  Args:
    responses: 1 where right, or the chance of it by a simulator.
    seconds: each student took for each item.
    strong_share: students with the highest totals that should agree; static.

  Returns:
    Accuracy, median log seconds, and `4 p (1 - p)` with the accuracy p of the
    strong students: 1 where half of them are right.
  """
  count = max(1, int(strong_share * responses.shape[0]))
  _, strong = jax.lax.top_k(responses.sum(axis=1), count)
  p = responses[strong].mean(axis=0)
  return ItemStatistics(
    responses.mean(axis=0),
    jnp.median(jnp.log(seconds), axis=0),
    4 * p * (1 - p),
  )
