r"""Reptile, and Meta-RTL, which learns how much to take from each source.

Reptile (Nichol et al., 2018, 1803.02999) moves parameters to where `k` steps on
sources lead. Meta-RTL (Fu et al., 2024, 2409.19075) has a target of which there
is little data, and weighs sources by what they do for it:

.. math::
  \phi \leftarrow \phi + \epsilon \sum_{i=1}^{M} w_i (\phi_i - \phi), \qquad
  r_i = L_{target}(\phi) - L_{target}(\phi_i)

with :math:`w = 1 / M` it is Reptile. Weights are the softmax of an LSTM that
sees the last weights and target losses. REINFORCE teaches it: sources are drawn
with the probabilities :math:`w`, each draw is worth :math:`r_i` less a moving
average :math:`b`, and :math:`(r_i - b) \nabla \log w_i` is followed; the LSTM's
memory is a constant to gradients. An update costs `M k` gradients and `M + 1`
losses of the target. At the end `adapt` tunes to the target.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc.agents.networks import orthogonal
from ttc.metarl.maml import LossFn, Rates, adapt
from ttc.types import Params

# `key -> batches`, leaves `[M, k, ...]`: of each source, of each inner step.
SourcesFn: TypeAlias = Callable[[PRNGKeyArray], Any]


def temporal_params(
  params: Params, loss_fn: LossFn, sources: Any, rate: Rates
) -> Params:
  """Where a step on each batch of a source leads, leaves `[M, ...]`."""
  step = lambda now, batch: (adapt(now, loss_fn, batch, rate, 1), None)
  return jax.vmap(lambda batches: jax.lax.scan(step, params, batches)[0])(
    sources
  )


def toward(
  params: Params,
  temporal: Params,
  weights: Float[Array, ' M'],
  rate: float | Float[Array, ''],
) -> Params:
  """`phi + rate sum_i w_i (phi_i - phi)`."""
  return jax.tree.map(
    lambda x, xs: x + rate * jnp.tensordot(weights, xs - x, 1),
    params,
    temporal,
  )


class ReptileState(NamedTuple):
  """Everything that meta-training needs to go on."""

  params: Params
  updates: Int[Array, '']
  key: PRNGKeyArray


class Reptile(NamedTuple):
  """A pair of pure functions.

  Attributes:
    init: `(params, key) -> state`.
    update: `state -> state`.
  """

  init: Callable[[Params, PRNGKeyArray], ReptileState]
  update: Callable[[ReptileState], ReptileState]


def reptile(
  loss_fn: LossFn,
  sample_sources: SourcesFn,
  *,
  inner_rate: Rates = 0.02,
  outer_rate: float = 0.1,
) -> Reptile:
  """Meta-training that takes as much from every source.

  Args:
    loss_fn: of a batch.
    sample_sources: batches of each source.
    inner_rate: of the steps on sources.
    outer_rate: epsilon.
  """

  def init(params, key):
    return ReptileState(params, jnp.zeros((), jnp.int32), key)

  def update(state):
    source_key, _, _ = _keys(state)
    sources = sample_sources(source_key)
    num_sources = jax.tree.leaves(sources)[0].shape[0]
    weights = jnp.full((num_sources,), 1 / num_sources, jnp.float32)
    temporal = temporal_params(state.params, loss_fn, sources, inner_rate)
    params = toward(state.params, temporal, weights, outer_rate)
    return ReptileState(params, state.updates + 1, state.key)

  return Reptile(init, update)


class Weigher(nn.Module):
  """Weights of sources from the last ones and what came of them.

  Attributes:
    num_sources: `M`.
    width: of the LSTM.
  """

  num_sources: int
  width: int

  @nn.compact
  def __call__(
    self, carry: Any, seen: Float[Array, ' D']
  ) -> tuple[Any, Float[Array, ' M']]:
    """Memory, and logarithms of the weights; equal ones at first."""
    cell = nn.OptimizedLSTMCell(
      self.width, kernel_init=orthogonal(), recurrent_kernel_init=orthogonal()
    )
    carry, hidden = cell(carry, seen)
    zeros = nn.initializers.zeros
    logits = nn.Dense(self.num_sources, kernel_init=zeros)(hidden)
    return carry, jax.nn.log_softmax(logits)


class MetaRTLState(NamedTuple):
  """Everything that meta-training needs to go on.

  Attributes:
    params: of the model.
    weights: of the last update.
    losses: of the target in the last update, before and after each source.
    carry: memory of the LSTM.
    policy: its params.
    opt_state: of its optimiser.
    baseline: moving average of rewards.
    updates: so far.
    key: of everything.
  """

  params: Params
  weights: Float[Array, ' M']
  losses: Float[Array, ' n']
  carry: Any
  policy: Params
  opt_state: optax.OptState
  baseline: Float[Array, '']
  updates: Int[Array, '']
  key: PRNGKeyArray


class MetaRTL(NamedTuple):
  """A pair of pure functions.

  Attributes:
    init: `(params, key) -> state`.
    update: `state -> (state, metrics)`: `weights [M]`, `rewards [M]` and
      `target_loss` before the update.
  """

  init: Callable[[Params, PRNGKeyArray], MetaRTLState]
  update: Callable[[MetaRTLState], tuple[MetaRTLState, dict[str, Array]]]


def meta_rtl(
  loss_fn: LossFn,
  sample_sources: SourcesFn,
  sample_target: Callable[[PRNGKeyArray], Any],
  num_sources: int,
  *,
  inner_rate: Rates = 0.02,
  outer_rate: float = 0.1,
  policy_optimizer: optax.GradientTransformation | None = None,
  width: int = 16,
  num_draws: int = 64,
  decay: float = 0.9,
) -> MetaRTL:
  """Meta-training that learns to weigh sources.

  Args:
    loss_fn: of a batch.
    sample_sources: batches of each source.
    sample_target: `key -> batch` of the target.
    num_sources: `M`.
    inner_rate: of the steps on sources.
    outer_rate: epsilon.
    policy_optimizer: of the LSTM; None for Adam with 3e-3,
      with which equal sources stay about equal.
    width: of the LSTM.
    num_draws: of sources, whose gradients are averaged.
    decay: of the moving average, whose first value is the first reward.

  Returns:
    Init and update.

  Raises:
    ValueError: on fewer than 2 sources, or no draws.
  """
  if num_sources < 2 or num_draws < 1:
    sizes = f'{num_sources} sources and {num_draws} draws'
    raise ValueError(f'meta_rtl: {sizes}, expected at least 2 and 1')
  optimizer = policy_optimizer or optax.adam(3e-3)
  weigher = Weigher(num_sources, width)

  init = functools.partial(_start, weigher, optimizer)

  def update(state):
    source_key, target_key, draw_key = _keys(state)
    sources, target = sample_sources(source_key), sample_target(target_key)
    temporal = temporal_params(state.params, loss_fn, sources, inner_rate)
    loss = lambda params: loss_fn(params, target).astype(jnp.float32)
    before, after = loss(state.params), jax.vmap(loss)(temporal)
    rewards = before - after
    seen = jnp.concatenate([state.weights, state.losses])

    def policy_loss(policy):
      said: Any = weigher.apply(policy, state.carry, seen)
      carry, log_weights = said
      drawn = jax.random.categorical(draw_key, log_weights, shape=(num_draws,))
      reward = jnp.mean(rewards[drawn])
      baseline = jnp.where(state.updates == 0, reward, state.baseline)
      advantage = jax.lax.stop_gradient(rewards[drawn] - baseline)
      told = carry, jnp.exp(log_weights), baseline, reward
      return -jnp.mean(advantage * log_weights[drawn]), told

    grads, told = jax.grad(policy_loss, has_aux=True)(state.policy)
    carry, weights, baseline, reward = told
    changes, opt_state = optimizer.update(grads, state.opt_state, state.policy)
    metrics = {'weights': weights, 'rewards': rewards, 'target_loss': before}
    state = MetaRTLState(
      toward(state.params, temporal, weights, outer_rate),
      weights,
      jnp.concatenate([before[None], after]),
      carry,
      optax.apply_updates(state.policy, changes),
      opt_state,
      decay * baseline + (1 - decay) * reward,
      state.updates + 1,
      state.key,
    )
    return state, metrics

  return MetaRTL(init, update)


def _start(
  weigher: Weigher,
  optimizer: optax.GradientTransformation,
  params: Params,
  key: PRNGKeyArray,
) -> MetaRTLState:
  """Equal weights, and nothing seen."""
  num_sources = weigher.num_sources
  weights = jnp.full((num_sources,), 1 / num_sources, jnp.float32)
  losses = jnp.zeros((num_sources + 1,), jnp.float32)
  zeros = jnp.zeros((weigher.width,), jnp.float32)
  carry = (zeros, zeros)
  seen = jnp.concatenate([weights, losses])
  no_update = jax.random.fold_in(key, 2**31)  # keys of updates are from 0 on
  policy = weigher.init(no_update, carry, seen)
  return MetaRTLState(
    params,
    weights,
    losses,
    carry,
    policy,
    optimizer.init(policy),
    jnp.zeros((), jnp.float32),
    jnp.zeros((), jnp.int32),
    key,
  )


def _keys(state):
  """Of sources, target and draws of the update that comes next."""
  return jax.random.split(jax.random.fold_in(state.key, state.updates), 3)
