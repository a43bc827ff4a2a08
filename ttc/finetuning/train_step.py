"""One step of training as a pure function, and a scan of many.

The state is one pytree with everything that training depends on, its random key
included: saving and restoring it resumes a run bit for bit.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc.types import Params

Batch: TypeAlias = Any  # a pytree of arrays
Metrics: TypeAlias = dict[str, Float[Array, '*S']]


class TrainState(NamedTuple):
  """Everything a run depends on."""

  params: Params
  opt_state: optax.OptState
  step: Int[Array, '']  # steps done
  key: PRNGKeyArray  # of the batches to come


LossFn: TypeAlias = Callable[[Params, Batch], Float[Array, '']]
TrainStep: TypeAlias = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def init_state(
  init: Callable[[PRNGKeyArray], Params],
  optimizer: optax.GradientTransformation,
  key: PRNGKeyArray,
) -> TrainState:
  """The state before the first step; the key is consumed."""
  params_key, key = jax.random.split(key)
  params = init(params_key)
  return TrainState(params, optimizer.init(params), jnp.int32(0), key)


def make_train_step(
  loss_fn: LossFn, optimizer: optax.GradientTransformation
) -> TrainStep:
  """Makes the step that follows the gradient of a loss.

  Args:
    loss_fn: `(params, batch) -> loss`.
    optimizer: the same as for `init_state`.

  Returns:
    A pure `train_step(state, batch) -> (state, metrics)`; the metrics are
    `loss` and `grad_norm`, both before the step.
  """

  def train_step(state, batch):
    loss, grads = jax.value_and_grad(loss_fn)(state.params, batch)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {'loss': loss, 'grad_norm': optax.tree.norm(grads)}
    return TrainState(params, opt_state, state.step + 1, state.key), metrics

  return train_step


def run_steps(
  train_step: TrainStep,
  batch_fn: Callable[[PRNGKeyArray], Batch],
  state: TrainState,
  num_steps: int,
) -> tuple[TrainState, Metrics]:
  """Scans over steps, each on a fresh batch drawn on the device.

  Args:
    train_step: from `make_train_step`.
    batch_fn: `key -> batch`, the key is consumed.
    state: to go on from.
    num_steps: static.

  Returns:
    The state after the steps, and the metrics of each, `[num_steps]`.
  """

  def step(state, _):
    batch_key, key = jax.random.split(state.key)
    return train_step(state._replace(key=key), batch_fn(batch_key))

  return jax.lax.scan(step, state, length=num_steps)


def train(
  train_step: TrainStep,
  batch_fn: Callable[[PRNGKeyArray], Batch],
  state: TrainState,
  num_steps: int,
  every: int = 100,
) -> Iterator[tuple[TrainState, Metrics]]:
  """Trains up to a number of steps, and tells how it goes on the way.

  Args:
    train_step: from `make_train_step`.
    batch_fn: `key -> batch`, the key is consumed.
    state: to go on from; `state.step` steps are done already. It is donated,
      and so is what is yielded: be done with it before asking for the next.
    num_steps: of the whole training.
    every: steps from one report to the next.

  Yields:
    The state and the metrics `[every]` of the steps since the last one.
  """
  run = jax.jit(
    functools.partial(run_steps, train_step, batch_fn),
    static_argnames='num_steps',
    donate_argnums=0,
  )
  while (done := int(state.step)) < num_steps:
    state, metrics = run(state, num_steps=min(every, num_steps - done))
    yield state, metrics
