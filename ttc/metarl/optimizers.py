"""Optimisers of agents through which derivatives can be taken.

A meta-gradient differentiates the steps of an agent, also where its gradients
are 0 and the usual ones have none.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
  """As optax's, with a derivative also where all gradients are 0."""

  def update(updates, state, params=None):
    del params
    square = sum(jnp.sum(g**2) for g in jax.tree.leaves(updates))
    scale = max_norm * jax.lax.rsqrt(jnp.maximum(square, max_norm**2))
    return jax.tree.map(lambda g: scale * g, updates), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def adam(
  learning_rate: float | optax.Schedule, max_grad_norm: float
) -> optax.GradientTransformation:
  """Adam of clipped gradients.

  Args:
    learning_rate: a number or a schedule over gradient steps.
    max_grad_norm: gradients are clipped to.
  """
  return optax.chain(
    clip_by_global_norm(max_grad_norm),
    optax.adam(learning_rate, eps=1e-5, eps_root=1e-10),
  )


def stopped_adam(
  learning_rate: float | optax.Schedule = 3e-4,
  max_update: float = 1.0,
  *,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
) -> optax.GradientTransformation:
  """Adam whose denominator is a constant to derivatives (DiscoRL's).

  So derivatives through many updates stay finite where gradients are 0. The
  rate is the public code's, whose notebook takes 1e-2 for Catch.

  Args:
    learning_rate: a number or a schedule over gradient steps.
    max_update: each coordinate of a step is clipped to, before the rate.
    b1: decay of the mean.
    b2: decay of the mean square.
    eps: added to the denominator.
  """
  moments = optax.scale_by_adam(b1, b2, eps)

  def update(updates, state: Any, params=None):
    del params
    _, state = moments.update(updates, state)
    correct = optax.tree.bias_correction
    mean = correct(state.mu, b1, state.count)
    square = jax.lax.stop_gradient(correct(state.nu, b2, state.count))
    steps = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mean, square)
    return steps, state

  return optax.chain(
    optax.GradientTransformation(moments.init, update),
    optax.clip(max_update),
    optax.scale_by_learning_rate(learning_rate),
  )
