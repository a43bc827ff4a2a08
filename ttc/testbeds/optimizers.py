"""Optimisers with the spaces that their hyper-parameters are drawn from.

The first four set targets in AlgoPerf (2306.07179, section 4.3). Everything but
Schedule-Free warms up for a twentieth of the training and decays by a cosine.
Hyper-parameters are arrays: no trial compiles anew.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ttc import metarl
from ttc.testbeds.learned_optimizers import RATE
from ttc.types import Params

Hyper = Mapping[str, Float[Array, '']]


class Submission(NamedTuple):
  """An optimiser that is tuned by drawing.

  Attributes:
    name: for tables.
    space: the least and greatest value of each hyper-parameter, log-uniform.
    optimizer: `(hyper, num_steps) -> optimiser`.
    evaluated: `(opt_state, params) -> params` that are evaluated.
  """

  name: str
  space: Mapping[str, tuple[float, float]]
  optimizer: Callable[[Hyper, int], optax.GradientTransformation]
  evaluated: Callable[[Any, Params], Params] = lambda state, params: params


def draw_hyper(submission: Submission, key: PRNGKeyArray) -> Hyper:
  """A point of its space; the key is consumed."""
  keys = jax.random.split(key, len(submission.space))

  def draw(key, low, high):
    low, high = jnp.log(low), jnp.log(high)
    return jnp.exp(jax.random.uniform(key, (), jnp.float32, low, high))

  return {
    name: draw(key, *ends)
    for key, (name, ends) in zip(keys, submission.space.items(), strict=True)
  }


def _rate(hyper, num_steps):
  """Warm-up and cosine."""
  unit = optax.warmup_cosine_decay_schedule(
    0.0, 1.0, max(num_steps // 20, 1), num_steps
  )
  return lambda step: hyper['learning_rate'] * unit(step)


_ADAM_SPACE = {
  'learning_rate': (1e-3, 1e-1),
  'one_minus_b1': (0.02, 0.3),
  'one_minus_b2': (0.001, 0.1),
  'weight_decay': (1e-5, 1e-2),
}
_SGD_SPACE = {'learning_rate': (1e-2, 3.0), 'one_minus_momentum': (0.02, 0.5)}


def _adam_like(make, schedule=_rate, b2=True):
  def optimizer(hyper, num_steps):
    return make(
      schedule(hyper, num_steps),
      b1=1 - hyper['one_minus_b1'],
      b2=1 - hyper['one_minus_b2'],
      weight_decay=hyper['weight_decay'],
    )

  return optimizer


def _sgd(nesterov):
  return lambda hyper, num_steps: optax.sgd(
    _rate(hyper, num_steps), 1 - hyper['one_minus_momentum'], nesterov
  )


adamw = Submission('adamw', _ADAM_SPACE, _adam_like(optax.adamw))
nadamw = Submission('nadamw', _ADAM_SPACE, _adam_like(optax.nadamw))
nesterov = Submission('nesterov', _SGD_SPACE, _sgd(True))
heavy_ball = Submission('heavy_ball', _SGD_SPACE, _sgd(False))
schedule_free = Submission(
  'schedule_free',
  _ADAM_SPACE,
  _adam_like(
    optax.contrib.schedule_free_adamw,
    lambda hyper, num_steps: hyper['learning_rate'],
  ),
  optax.contrib.schedule_free_eval_params,
)
muon = Submission(
  'muon',
  {
    'learning_rate': (1e-3, 1e-1),
    'one_minus_momentum': (0.02, 0.3),
    'weight_decay': (1e-5, 1e-2),
  },
  lambda hyper, num_steps: optax.contrib.muon(
    _rate(hyper, num_steps),
    beta=1 - hyper['one_minus_momentum'],
    weight_decay=hyper['weight_decay'],
  ),
)


def learned(meta: Params) -> Submission:
  """An optimiser that was learned on other trainings; one number to tune."""
  return Submission(
    'learned',
    {'factor': (0.3, 3.0)},
    lambda hyper, num_steps: metarl.learned_optimizer(
      meta, num_steps, RATE * hyper['factor']
    ),
  )


TARGET_SETTERS = (adamw, nadamw, nesterov, heavy_ball)
BY_HAND = (*TARGET_SETTERS, schedule_free, muon)
