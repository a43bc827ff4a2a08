"""One score of a response from the scores of its steps.

A process reward model scores every step; a search or a vote needs one number.
Math-Shepherd takes the minimum, Snell et al. (2408.03314) the last step, Liu et
al. (2502.06703) compare minimum, last and average. Followed by a choice from
`ttc.search.VOTE_RULES` these are their PRM-Min-Vote, PRM-Last-Max and so on.
Costs no tokens.
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

NO_STEPS = -1.0  # the score of a response without a scored step (2502.06703)


def aggregate_steps(
  step_scores: Float[Array, '*B S'],
  mask: Bool[Array, '*B S'],
  how: Literal['last', 'min', 'mean', 'prod', 'max'] = 'last',
) -> Float[Array, '*B']:
  """Aggregates the scores of the steps that exist.

  `last` reads the last scored step, which for a verifier trained on outcomes is
  its outcome reward. `prod` is the chance that every step is right, if scores
  are such chances and steps err independently; it punishes length.

  Args:
    step_scores: score of each of at most `S` steps.
    mask: which steps exist; they need not be contiguous.
    how: the aggregate; static.

  Returns:
    The scores; -1 where no step exists.

  Example:
    >>> steps = jnp.array([0.9, 0.5, 0.8])
    >>> exist = jnp.array([True, True, False])
    >>> for how in ('last', 'mean', 'prod', 'max'):
    ...   score = verifiers.aggregate_steps(steps, exist, how)
    ...   print(how, round(float(score), 2))
    last 0.5
    mean 0.7
    prod 0.45
    max 0.9
  """
  index = jnp.arange(step_scores.shape[-1])
  fill = lambda value: jnp.where(mask, step_scores, value)
  match how:
    case 'last':
      is_last = index == jnp.max(
        jnp.where(mask, index, -1), axis=-1, keepdims=True
      )
      score = jnp.sum(jnp.where(is_last, step_scores, 0.0), axis=-1)
    case 'min':
      score = jnp.min(fill(jnp.inf), axis=-1)
    case 'mean':
      score = jnp.sum(fill(0.0), axis=-1) / jnp.maximum(jnp.sum(mask, -1), 1)
    case 'prod':
      score = jnp.prod(fill(1.0), axis=-1)
    case 'max':
      score = jnp.max(fill(-jnp.inf), axis=-1)
  return jnp.where(jnp.any(mask, axis=-1), score, NO_STEPS)
