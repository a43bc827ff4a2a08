"""Learning from what was just played: a rollout, then passes over its parts.

What PPO, PQN and every update rule of `ttc.metarl` share. A method says how
agents act and what their objective is; collecting, shuffling and stepping are
here. What was played is data: gradients stop at it. Costs: `E T` environment
steps, one evaluation of each step while playing and `num_epochs` forward and
backward.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from ttc import envs
from ttc.agents import rollouts
from ttc.agents.learner import EnvBatch, Metrics
from ttc.agents.rollouts import Behaviour, Memories, Rollout
from ttc.kernels.dispatch import mesh_of
from ttc.types import Params


@runtime_checkable
class Sizes(Protocol):
  """What of a method's hyper-parameters is used here."""

  @property
  def num_envs(self) -> int: ...
  @property
  def num_steps(self) -> int: ...
  @property
  def num_epochs(self) -> int: ...
  @property
  def num_minibatches(self) -> int: ...
  @property
  def shaping(self) -> optax.Schedule | None: ...


class OnPolicyState(NamedTuple):
  """Everything that training needs to go on."""

  params: Mapping[str, Params]
  opt_state: optax.OptState
  memory: Any  # of the objective
  envs: EnvBatch
  updates: Int[Array, '']
  key: PRNGKeyArray


class Batch(NamedTuple):
  """A rollout, and what its steps are to be changed towards.

  Attributes:
    rollout: leaves `[T, E, ...]`.
    target: a pytree of the same axes: advantages, returns, ...
  """

  rollout: Rollout
  target: Any


class Played(NamedTuple):
  """What was played since the last update.

  Attributes:
    rollout: of the steps.
    memories: of networks, before the first step.
    running: environments after the last one.
  """

  rollout: Rollout
  memories: Memories
  running: EnvBatch


# `(params, memories, batch, updates before) -> (loss, what it is made of)`.
LossFn: TypeAlias = Callable[
  [Mapping[str, Params], Memories, Batch, Int[Array, '']],
  tuple[Float[Array, ''], Metrics],
]


class Objective(NamedTuple):
  """What agents learn from, of the update that is going on.

  Attributes:
    start: `params -> memory`, what it remembers from one update to the next.
    targets: `(memory, params, played, updates) -> (target, memory)`; `updates`
      were done before.
    loss: `(params, memories, batch, updates) -> (loss, what it is made of)`, of
      a minibatch.
  """

  start: Callable[[Mapping[str, Params]], Any]
  targets: Callable[
    [Any, Mapping[str, Params], Played, Int[Array, '']], tuple[Any, Any]
  ]
  loss: LossFn


def unchanging(
  targets: Callable[[Mapping[str, Params], Played], Any],
  loss: Callable[
    [Mapping[str, Params], Memories, Batch], tuple[Float[Array, ''], Metrics]
  ],
) -> Objective:
  """An objective that is the same in every update and remembers nothing."""
  return Objective(
    lambda params: (),
    lambda memory, params, played, updates: (targets(params, played), memory),
    lambda params, memories, batch, updates: loss(params, memories, batch),
  )


# `key -> (key of the training, params, running environments)`.
StartFn: TypeAlias = Callable[
  [PRNGKeyArray], tuple[PRNGKeyArray, Mapping[str, Params], EnvBatch]
]


def on_policy(
  env: envs.Environment,
  behaviour: Behaviour,
  start: StartFn,
  objective: Objective,
  optimizer: optax.GradientTransformation,
  sizes: Sizes,
  *,
  has_memory: bool,
  env_params: Any,
) -> tuple[
  Callable[[PRNGKeyArray], OnPolicyState],
  Callable[[OnPolicyState], tuple[OnPolicyState, Metrics]],
]:
  """Init and update of a learner.

  Args:
    env: without `auto_reset`.
    behaviour: of its agents.
    start: of a training.
    objective: of the learning.
    optimizer: of the params.
    sizes: hyper-parameters.
    has_memory: of any network: then minibatches are of whole environments.
    env_params: of the environment.

  Raises:
    ValueError: if minibatches do not come out even.
  """
  check_minibatches(
    sizes.num_envs, sizes.num_steps, sizes.num_minibatches, has_memory
  )
  collect = rollouts.collector(
    env,
    behaviour,
    sizes.num_envs,
    sizes.num_steps,
    env_params=env_params,
    shaping=sizes.shaping,
  )

  def init(key):
    key, params, running = start(key)
    updates = jnp.zeros((), jnp.int32)
    return OnPolicyState(
      params,
      optimizer.init(params),
      objective.start(params),
      running,
      updates,
      key,
    )

  def update(state):
    key = jax.random.fold_in(state.key, state.updates)
    rollout_key, shuffle_key = jax.random.split(key)
    steps = state.updates.astype(jnp.float32) * (
      sizes.num_envs * sizes.num_steps
    )
    running, rollout, metrics = jax.lax.stop_gradient(
      collect(rollout_key, state.params, state.envs, steps)
    )
    target, memory = objective.targets(
      state.memory,
      state.params,
      Played(rollout, state.envs.memories, running),
      state.updates,
    )
    batch = Batch(rollout, target)
    params, opt_state, losses = passes(
      objective.loss, optimizer, sizes, state, batch, shuffle_key
    )
    metrics |= jax.tree.map(jnp.mean, losses)
    state = OnPolicyState(
      params, opt_state, memory, running, state.updates + 1, state.key
    )
    return state, metrics

  return init, update


def passes(
  loss_fn: LossFn,
  optimizer: optax.GradientTransformation,
  sizes: Sizes,
  state: OnPolicyState,
  batch: Batch,
  key: PRNGKeyArray,
) -> tuple[Mapping[str, Params], optax.OptState, dict[str, Array]]:
  """Steps down the loss of every part of a batch, `num_epochs` times.

  Args:
    loss_fn: of an objective.
    optimizer: of the params.
    sizes: hyper-parameters.
    state: before the update.
    batch: that was played since.
    key: of the shuffling, consumed.

  Returns:
    Params, the optimizer's state, and what losses were made of, of each step.
  """
  grad_fn = jax.grad(loss_fn, has_aux=True)

  def train_step(carry, part):
    params, opt_state = carry
    grads, losses = grad_fn(params, *part, state.updates)
    changes, opt_state = optimizer.update(grads, opt_state, params)
    changed: Any = optax.apply_updates(params, changes)
    return (changed, opt_state), losses

  def epoch(carry, key):
    parts = minibatches(key, batch, state.envs.memories, sizes.num_minibatches)
    return jax.lax.scan(train_step, carry, parts)

  (params, opt_state), losses = jax.lax.scan(
    epoch,
    (state.params, state.opt_state),
    jax.random.split(key, sizes.num_epochs),
  )
  return params, opt_state, losses


def last_values(
  behaviour: Behaviour, params: Mapping[str, Params], running: EnvBatch
) -> Float[Array, 'E M']:
  """What the behaviour's `value` says of the states that a rollout ends in."""
  assert behaviour.value is not None
  return behaviour.value(
    params,
    running.states.env_state,
    running.obs,
    running.memories,
    running.reset,
  )


def minibatches(
  key: PRNGKeyArray,
  batch: Any,
  memories: Memories,
  num_minibatches: int,
) -> tuple[Mapping[str, Array], Any]:
  """A batch in random parts, along a new first axis.

  With a memory a part is some environments, all their steps; without one, every
  step of an environment goes its own way, as a sequence of length 1.

  Args:
    key: consumed.
    batch: leaves `[T, E, ...]`.
    memories: before the first step.
    num_minibatches: which divides `E`, or `T E` without a memory; 1 keeps the
      order.

  Returns:
    Memories `[parts, E', ...]` and batch `[parts, T', E', ...]`.
  """
  num_steps, num_envs = jax.tree.leaves(batch)[0].shape[:2]
  if not any(memory.shape[-1] for memory in memories.values()):
    num_steps, num_envs = 1, num_steps * num_envs
    batch = jax.tree.map(lambda x: x.reshape(1, num_envs, *x.shape[2:]), batch)
    memories = jax.tree.map(
      lambda x: jnp.zeros((num_envs, *x.shape[1:]), x.dtype), memories
    )
  if num_minibatches == 1:
    return jax.tree.map(lambda x: x[None], (memories, batch))
  order = jax.random.permutation(key, num_envs).reshape(num_minibatches, -1)
  return (
    jax.tree.map(lambda x: _spread(x[order], 1), memories),
    jax.tree.map(lambda x: _spread(jnp.moveaxis(x[:, order], 1, 0), 2), batch),
  )


def _spread(x: Shaped[Array, '...'], axis: int) -> Shaped[Array, '...']:
  """Over the devices of a mesh, each of which then learns from its share.

  Left to the compiler, all learn from all of what was shuffled.
  """
  mesh = mesh_of(x)
  parts = 1 if mesh is None else mesh.shape.get('data', 1)
  if mesh is None or parts == 1 or x.shape[axis] % parts:
    return x
  place = NamedSharding(mesh, PartitionSpec(*(None,) * axis, 'data'))
  return jax.lax.with_sharding_constraint(x, place)


def check_minibatches(
  num_envs: int, num_steps: int, num_minibatches: int, has_memory: bool
) -> None:
  """Raises ValueError for parts that do not come out even."""
  whole = num_envs * (1 if has_memory else num_steps)
  if num_minibatches < 1 or whole % num_minibatches:
    what = 'num_envs' if has_memory else 'num_envs * num_steps'
    raise ValueError(
      f'num_minibatches={num_minibatches} does not divide {what}={whole}'
    )
