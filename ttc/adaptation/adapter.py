"""What a test-time adaptation method is: a pair of pure functions.

As in optax, a factory closes over what is static (the network, an optimiser)
and over hyper-parameters, which may be traced arrays, and returns `init` and
`update`. All that changes lies in one state.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from jaxtyping import Array, Bool, Float, Int

from ttc.models.vision.classifier import Variables

AdapterState = Any
# Parameters by path, 'stage/layer/kernel'.
ChosenParams = dict[str, Array]
# What most papers take for CIFAR, on batches of 200.
ADAM = optax.adam(1e-3)
# Which parameters learn: those that normalise, all, the last layer, or those
# whose path a function accepts.
Select = Literal['norm', 'all', 'head'] | Callable[[str], bool]


class Source(NamedTuple):
  """What is there before deployment: a network, and images it knows.

  Methods that need no images of the source are given empty arrays.
  """

  variables: Variables
  images: Float[Array, 'n H W C']
  labels: Int[Array, ' n']


class Batch(NamedTuple):
  """Images that arrive together; a stream has one more axis, time, in front."""

  images: Float[Array, 'B H W C']  # in [0, 1]
  mask: Bool[Array, ' B']  # False where a row only fills the batch up


class Prediction(NamedTuple):
  """What a method says of a batch, and what it spent."""

  # Or log-probabilities up to a constant: only their order and softmax count.
  logits: Float[Array, 'B K']
  features: Float[Array, 'B D']
  num_forward: Int[Array, '']  # images sent through the network
  num_backward: Int[Array, '']  # images whose gradient was asked for


class Adapter(NamedTuple):
  """A method: how it starts, and what it does with a batch.

  `update` never sees a label. Its key is used up.
  """

  init: Callable[[Source, Array], AdapterState]
  update: Callable[
    [AdapterState, Batch, Array], tuple[Prediction, AdapterState]
  ]


class Learning(NamedTuple):
  """The state of a method that descends: what stays, and what learns."""

  variables: Variables  # the source's
  params: ChosenParams
  opt_state: optax.OptState


def choose(variables: Variables, select: Select = 'norm') -> ChosenParams:
  """Parameters that learn, by path.

  Args:
    variables: of a classifier.
    select: which.

  Raises:
    ValueError: for an unknown choice, and if nothing is chosen.
  """
  accept = select if callable(select) else _PREDICATES.get(select)
  if accept is None:
    raise ValueError(
      f'select {select!r}: norm, all, head or a function of a path'
    )
  flat: dict[str, Any] = traverse_util.flatten_dict(
    variables['params'], sep='/'
  )
  chosen = {path: leaf for path, leaf in flat.items() if accept(path)}
  if not chosen:
    raise ValueError(f'select {select!r} chooses none of {", ".join(flat)}')
  return chosen


def put_back(variables: Variables, params: ChosenParams) -> Variables:
  """The variables with chosen parameters in their places."""
  flat = traverse_util.flatten_dict(variables['params'], sep='/')
  return variables | {
    'params': traverse_util.unflatten_dict(flat | params, sep='/')
  }


def start_learning(
  variables: Variables, select: Select, optimizer: optax.GradientTransformation
) -> Learning:
  """Chooses parameters and starts their optimiser."""
  params = choose(variables, select)
  return Learning(variables, params, optimizer.init(params))


def descend(
  optimizer: optax.GradientTransformation,
  state: Learning,
  grads: ChosenParams,
  is_used: bool | Bool[Array, ''] = True,
) -> Learning:
  """One step; without a sample to learn from, the very same state."""
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  new = state._replace(params=params, opt_state=opt_state)
  return keep_if(is_used, new, state)


def keep_if(condition: bool | Bool[Array, ''], new: Any, old: Any) -> Any:
  """`new` where the condition holds, leaf by leaf, else `old`."""
  return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def masked_mean(
  values: Float[Array, ' B'], mask: Bool[Array, ' B']
) -> Float[Array, '']:
  """Mean over rows that count; zero, with no gradient, if there is none."""
  kept = jnp.where(mask, values, 0)
  return jnp.sum(kept) / jnp.maximum(jnp.sum(mask), 1)


def unit(rows: Float[Array, '*B D']) -> Float[Array, '*B D']:
  """Rows of Euclidean length one; a row of zeros stays one."""
  squared = jnp.sum(rows**2, axis=-1, keepdims=True)
  safe = jnp.where(squared > 0, squared, 1)
  return rows * jax.lax.rsqrt(safe)


_PREDICATES = {
  'norm': lambda path: 'norm' in path,
  'all': lambda path: True,
  'head': lambda path: path.startswith('head/'),
}
