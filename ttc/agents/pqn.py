r"""Parallelised Q-network (Gallici et al., 2024, 2407.04811), for teams.

No replay and no target network: many environments in place of the one,
normalised layers in place of the other. Values are fitted to the
lambda-returns of what was just played,

.. math::
  G_t = r_t + \gamma ((1 - \lambda) \max_a Q(s_{t+1}, a) + \lambda G_{t+1}).

Costs of an update: as PPO's without a critic.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ttc import envs
from ttc.agents import (
  distributions,
  mixing,
  networks,
  q_behaviour,
  rollouts,
)
from ttc.agents.gae import gae
from ttc.agents.learner import Learner
from ttc.agents.networks import Architecture
from ttc.agents.on_policy import last_values, on_policy, unchanging
from ttc.agents.rollouts import Rollout


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
  env_params = env.default_params if env_params is None else env_params
  net = networks.for_agents(
    architecture, env.num_actions, env.num_agents, env.observation_shape
  )
  epsilon = q_behaviour.as_schedule(hyper.epsilon)

  def start(key):
    key, start_key = jax.random.split(key)
    return key, *q_behaviour.start(
      env, net, mixer, env_params, hyper.num_envs, start_key
    )

  behaviour = q_behaviour.behaviour(env, net, mixer, epsilon, env_params)

  def targets(params, played):
    last = last_values(behaviour, params, played.running)
    return lambda_returns(played.rollout, last, mixer, hyper)

  def loss(params, memories, batch):
    return _loss(net, mixer, params, memories, batch)

  init, update = on_policy(
    env,
    behaviour,
    start,
    unchanging(targets, loss),
    optax.chain(
      optax.clip_by_global_norm(hyper.max_grad_norm),
      optax.radam(hyper.learning_rate),
    ),
    hyper,
    has_memory=bool(architecture.memory_width),
    env_params=env_params,
  )
  return Learner(
    init,
    update,
    lambda state: state.params['agents'],
    q_behaviour.q_policy(net, epsilon(jnp.iinfo(jnp.int32).max)),
    hyper.num_envs * hyper.num_steps,
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
  loss = 0.5 * jnp.mean((mixed - returns) ** 2)
  return loss, {'td_loss': loss}
