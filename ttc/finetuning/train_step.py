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
# The loss, and what is added up beside it.
SumsFn: TypeAlias = Callable[
  [Params, Batch], tuple[Float[Array, ''], dict[str, Any]]
]
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


def state_shardings(
  state: TrainState,
  optimizer: optax.GradientTransformation,
  of_params: Any,
) -> Any:
  """Where a state lies: moments of the optimizer as the parameters do.

  Args:
    state: or its shapes.
    optimizer: the one of the state.
    of_params: a `NamedSharding` for each parameter. With those of
      `models.ZERO` nothing large is on two devices, as far as axes divide.

  Returns:
    A sharding for each leaf of the state; step, key and counts are everywhere.
  """
  mesh = jax.tree.leaves(of_params)[0].mesh
  whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  of_optimizer = optax.tree.map_params(
    optimizer,
    lambda _, place: place,
    state.opt_state,
    of_params,
    transform_non_params=lambda _: whole,
  )
  return state._replace(
    params=of_params, opt_state=of_optimizer, step=whole, key=whole
  )


def make_train_step(
  loss_fn: LossFn | SumsFn,
  optimizer: optax.GradientTransformation,
  *,
  num_micro_batches: int = 1,
  has_sums: bool = False,
) -> TrainStep:
  """Makes the step that follows the gradient of a loss.

  Args:
    loss_fn: `(params, batch) -> loss`.
    optimizer: the same as for `init_state`.
    num_micro_batches: pieces that the batch is cut into, along the leading axis
      of its leaves, and whose losses and gradients are ADDED: the loss must be
      a sum, of rows that bring their weights with them.
    has_sums: whether `loss_fn` returns `(loss, sums)`, a dict of what is added
      as well and becomes metrics.

  Returns:
    A pure `train_step(state, batch) -> (state, metrics)`; the metrics are
    `loss` and `grad_norm`, both before the step, and the sums.
  """
  add_up = _over_pieces(
    jax.value_and_grad(loss_fn, has_aux=has_sums), num_micro_batches
  )

  def train_step(state, batch):
    value, grads = add_up(state.params, batch)
    loss, sums = value if has_sums else (value, {})
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {'loss': loss, 'grad_norm': optax.tree.norm(grads), **sums}
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
  place: jax.sharding.Sharding | None = None,
) -> Iterator[tuple[TrainState, Metrics]]:
  """Trains up to a number of steps, and tells how it goes on the way.

  Args:
    train_step: from `make_train_step`.
    batch_fn: `key -> batch`, the key is consumed.
    state: to go on from; `state.step` steps are done already. It is donated,
      and so is what is yielded: be done with it before asking for the next.
    num_steps: of the whole training.
    every: steps from one report to the next.
    place: of the state and the metrics, where `batch_fn` spreads its rows over
      several devices; None for where the state is.

  Yields:
    The state and the metrics `[every]` of the steps since the last one.
  """
  run = jax.jit(
    functools.partial(run_steps, train_step, batch_fn),
    static_argnames='num_steps',
    donate_argnums=0,
    out_shardings=place,
  )
  while (done := int(state.step)) < num_steps:
    state, metrics = run(state, num_steps=min(every, num_steps - done))
    yield state, metrics


def _over_pieces(fn, num_pieces):
  """The sum of `fn(params, piece)` over the pieces of a batch."""
  if num_pieces == 1:
    return fn

  def cut(leaf):
    if leaf.shape[0] % num_pieces:
      raise ValueError(
        f'num_micro_batches={num_pieces} does not divide the batch of '
        f'{leaf.shape[0]}'
      )
    # Every n-th row, so that rows on different devices stay there.
    return leaf.reshape(-1, num_pieces, *leaf.shape[1:]).swapaxes(0, 1)

  def over_pieces(params, batch):
    pieces = jax.tree.map(cut, batch)
    first = jax.tree.map(lambda leaf: leaf[0], pieces)
    zeros = jax.tree.map(
      lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(fn, params, first)
    )
    add = lambda total, piece: (
      jax.tree.map(jnp.add, total, fn(params, piece)),
      None,
    )
    return jax.lax.scan(add, zeros, pieces)[0]

  return over_pieces
