r"""Parallelised Q-network (Gallici et al., 2024, 2407.04811), for teams.

No replay and no target network: many environments in place of the one,
normalised layers in place of the other. Values are fitted to the
lambda-returns of what was just played,

.. math::
  G_t = r_t + \gamma ((1 - \lambda) \max_a Q(s_{t+1}, a) + \lambda G_{t+1}).

Costs of an update: as PPO's without a critic.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc import envs
from ttc.agents import (
  distributions,
  mixing,
  networks,
  q_behaviour,
  rollouts,
)
from ttc.agents.gae import gae
from ttc.agents.learner import EnvBatch, Learner
from ttc.agents.networks import Architecture
from ttc.agents.ppo import check_minibatches, minibatches
from ttc.agents.rollouts import Rollout
from ttc.types import Params


class PQN(NamedTuple):
  """Hyper-parameters; the defaults are JaxMARL's of PQN-VDN.

  Attributes:
    num_envs: `E`.
    num_steps: `T` of a rollout.
    num_epochs: passes over a rollout.
    num_minibatches: of a pass; as in PPO.
    learning_rate: of RAdam, a number or a schedule over gradient steps.
    epsilon: of exploration, by environment steps so far; a number or schedule.
    discount: gamma.
    trace: lambda of the returns.
    max_grad_norm: gradients are clipped to.
    shaping: weight of `info['shaped_reward']` by environment steps so far; None
      for none.
  """

  num_envs: int = 128
  num_steps: int = 128
  num_epochs: int = 4
  num_minibatches: int = 16
  learning_rate: float | optax.Schedule = 2.5e-4
  epsilon: float | optax.Schedule = 0.05
  discount: float = 0.99
  trace: float = 0.85
  max_grad_norm: float = 10.0
  shaping: optax.Schedule | None = None


class PQNState(NamedTuple):
  """Everything that training needs to go on."""

  params: Mapping[str, Params]  # 'agents', 'mixer'
  opt_state: optax.OptState
  envs: EnvBatch
  updates: Int[Array, '']
  key: PRNGKeyArray


class _Batch(NamedTuple):
  """A rollout and what its values should be."""

  rollout: Rollout
  returns: Float[Array, 'T E M']


def pqn(
  env: envs.Environment,
  hyper: PQN = PQN(),  # noqa: B008
  architecture: Architecture = Architecture(  # noqa: B008
    (128, 128), activation='relu', agent_ids=True, layer_norm=True
  ),
  *,
  mixer: mixing.Mixer | None = None,
  env_params: Any = None,
) -> Learner:
  """PQN of mixed values.

  Args:
    env: without `auto_reset`; discrete actions.
    hyper: numbers.
    architecture: of the agents' network.
    mixer: of the agents' values; None for their sum (PQN-VDN).
    env_params: of the environment; None for the default.

  Returns:
    The learner; the policy explores with the epsilon of the end of time.

  Raises:
    ValueError: on continuous actions, or if minibatches do not come out even.
  """
  mixer = mixer or mixing.sum_of_values()
  check_minibatches(
    hyper.num_envs,
    hyper.num_steps,
    hyper.num_minibatches,
    bool(architecture.memory_width),
  )
  env_params = env.default_params if env_params is None else env_params
  net = networks.for_agents(
    architecture, env.num_actions, env.num_agents, env.observation_shape
  )
  epsilon = q_behaviour.as_schedule(hyper.epsilon)
  behaviour = q_behaviour.behaviour(env, net, mixer, epsilon, env_params)
  collect = rollouts.collector(
    env,
    behaviour,
    hyper.num_envs,
    hyper.num_steps,
    env_params=env_params,
    shaping=hyper.shaping,
  )
  optimizer = optax.chain(
    optax.clip_by_global_norm(hyper.max_grad_norm),
    optax.radam(hyper.learning_rate),
  )
  steps_per_update = hyper.num_envs * hyper.num_steps

  def init(key):
    key, start_key = jax.random.split(key)
    params, running = q_behaviour.start(
      env, net, mixer, env_params, hyper.num_envs, start_key
    )
    updates = jnp.zeros((), jnp.int32)
    return PQNState(params, optimizer.init(params), running, updates, key)

  def train_step(carry, part):
    params, opt_state = carry
    value, grads = jax.value_and_grad(
      lambda params: _loss(net, mixer, params, *part)
    )(params)
    changes, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, changes), opt_state), value

  def update(state):
    key = jax.random.fold_in(state.key, state.updates)
    rollout_key, shuffle_key = jax.random.split(key)
    steps = state.updates.astype(jnp.float32) * steps_per_update
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
    batch = _Batch(rollout, lambda_returns(rollout, last, mixer, hyper))

    def epoch(carry, key):
      parts = minibatches(
        key, batch, state.envs.memories, hyper.num_minibatches
      )
      return jax.lax.scan(train_step, carry, parts)

    (params, opt_state), losses = jax.lax.scan(
      epoch,
      (state.params, state.opt_state),
      jax.random.split(shuffle_key, hyper.num_epochs),
    )
    metrics |= {'td_loss': jnp.mean(losses), 'epsilon': epsilon(steps)}
    return (
      PQNState(params, opt_state, running, state.updates + 1, state.key),
      metrics,
    )

  return Learner(
    init,
    update,
    lambda state: state.params['agents'],
    q_behaviour.q_policy(net, epsilon(jnp.iinfo(jnp.int32).max)),
    steps_per_update,
  )


def lambda_returns(
  rollout: Rollout, last: Float[Array, 'E M'], mixer: mixing.Mixer, hyper: PQN
) -> Float[Array, 'T E M']:
  """Returns of a rollout that ends in a state worth `last`.

  With the values of the best actions as baseline they are its generalised
  advantages plus the baseline.
  """
  best = rollout.kept.best
  advantage = gae(
    mixer.rewards(rollout.reward),
    best,
    rollouts.next_values(best, last, rollout),
    rollout.terminated[..., None],
    rollout.truncated[..., None],
    discount=hyper.discount,
    trace=hyper.trace,
  )
  return best + advantage


def _loss(net, mixer, params, memories, batch):
  """Half the mean squared error of the actions that were taken."""
  rollout, returns = batch
  q, _ = net.apply(
    params['agents'], rollout.obs, memories['agents'], rollout.reset
  )
  q = distributions.masked(q, rollout.legal)
  taken = jnp.take_along_axis(q, rollout.action[..., None], axis=-1)[..., 0]
  mixed = mixer.apply(params['mixer'], taken, rollout.kept.world)
  return 0.5 * jnp.mean((mixed - returns) ** 2)
