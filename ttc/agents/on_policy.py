"""Learning from what was just played: a rollout, then passes over its parts.

What PPO and PQN share. A method says how agents act, what each step should have
been worth, and a loss; collecting, bootstrapping, shuffling and stepping are
here. Costs: `E T` environment steps, one evaluation of each step while playing
and `num_epochs` forward and backward.
"""

from collections.abc import Callable, Mapping
from typing import (
  Any,
  NamedTuple,
  Protocol,
  TypeAlias,
  runtime_checkable,
)

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc import envs
from ttc.agents import rollouts
from ttc.agents.learner import EnvBatch, Metrics
from ttc.agents.rollouts import Behaviour, Memories, Rollout
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
  envs: EnvBatch
  updates: Int[Array, '']
  key: PRNGKeyArray


class Batch(NamedTuple):
  """A rollout, and a number for each step: an advantage, or a return."""

  rollout: Rollout
  target: Float[Array, 'T E M']


# `key -> (key of the training, params, running environments)`.
StartFn: TypeAlias = Callable[
  [PRNGKeyArray], tuple[PRNGKeyArray, Mapping[str, Params], EnvBatch]
]
# `(rollout, values of the states it ends in) -> [T, E, M]`.
TargetFn: TypeAlias = Callable[[Rollout, Array], Float[Array, 'T E M']]
# `(params, memories, batch) -> (loss, what it is made of)`.
LossFn: TypeAlias = Callable[
  [Mapping[str, Params], Memories, Batch], tuple[Float[Array, ''], Metrics]
]


def on_policy(
  env: envs.Environment,
  behaviour: Behaviour,
  start: StartFn,
  target_fn: TargetFn,
  loss_fn: LossFn,
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
    behaviour: of its agents; `value` bootstraps.
    start: of a training.
    target_fn: what the steps of a rollout were worth.
    loss_fn: of a minibatch.
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
  grad_fn = jax.grad(loss_fn, has_aux=True)

  def init(key):
    key, params, running = start(key)
    updates = jnp.zeros((), jnp.int32)
    return OnPolicyState(params, optimizer.init(params), running, updates, key)

  def train_step(carry, part):
    params, opt_state = carry
    grads, losses = grad_fn(params, *part)
    changes, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, changes), opt_state), losses

  def update(state):
    key = jax.random.fold_in(state.key, state.updates)
    rollout_key, shuffle_key = jax.random.split(key)
    steps = state.updates.astype(jnp.float32) * (
      sizes.num_envs * sizes.num_steps
    )
    running, rollout, metrics = collect(
      rollout_key, state.params, state.envs, steps
    )
    last = behaviour.value(
      state.params,
      running.states.env_state,
      running.obs,
      running.memories,
      running.reset,
    )
    batch = Batch(rollout, target_fn(rollout, last))

    def epoch(carry, key):
      parts = minibatches(
        key, batch, state.envs.memories, sizes.num_minibatches
      )
      return jax.lax.scan(train_step, carry, parts)

    (params, opt_state), losses = jax.lax.scan(
      epoch,
      (state.params, state.opt_state),
      jax.random.split(shuffle_key, sizes.num_epochs),
    )
    metrics |= jax.tree.map(jnp.mean, losses)
    state = OnPolicyState(
      params, opt_state, running, state.updates + 1, state.key
    )
    return state, metrics

  return init, update


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
    num_minibatches: which divides `E`, or `T E` without a memory.

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
  order = jax.random.permutation(key, num_envs).reshape(num_minibatches, -1)
  return (
    jax.tree.map(lambda x: x[order], memories),
    jax.tree.map(lambda x: jnp.moveaxis(x[:, order], 1, 0), batch),
  )


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
