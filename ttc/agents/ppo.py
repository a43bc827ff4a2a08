r"""Proximal policy optimisation (Schulman et al., 2017, 1707.06347).

Written once: one rollout and one loss serve one agent and many (`ippo`,
`mappo`), forward and recurrent networks, shared and separate parameters,
discrete and continuous actions, and any surrogate of ratio and advantage.

An update costs `E T` environment steps, `A E T (1 + num_epochs)` evaluations of
actor and critic, and `A E T num_epochs` backward passes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ttc import envs
from ttc.agents import networks, rollouts
from ttc.agents.actor_critic import (
  CriticObsFn,
  actor_critic,
  actor_critic_learner,
)
from ttc.agents.distributions import ActionLaw
from ttc.agents.gae import gae
from ttc.agents.learner import Learner
from ttc.agents.on_policy import Batch, last_values, unchanging
from ttc.agents.rollouts import Rollout

# `(ratio, advantage) -> what is maximised`, entry by entry.
Surrogate: TypeAlias = Callable[[Array, Array], Array]


class PPO(NamedTuple):
  """Hyper-parameters; the defaults are JaxMARL's of IPPO on MPE, but for one.

  That clips values to 0.2 of the old ones, whatever the scale of returns, so
  returns of tens take many updates to learn; here the clip is off. The claim
  `simple_spread` measures both.

  Attributes:
    num_envs: `E`.
    num_steps: `T` of a rollout.
    num_epochs: passes over a rollout.
    num_minibatches: of a pass; of whole environments where there is a memory,
      of steps of environments where there is none.
    learning_rate: of Adam, a number or a schedule over gradient steps.
    discount: gamma.
    trace: lambda of generalised advantage estimation.
    clip: epsilon of the ratio.
    value_clip: how far a value may move in an update; None for any.
    entropy_weight: of the bonus.
    value_weight: of the value's loss.
    max_grad_norm: gradients are clipped to.
    shaping: weight of `info['shaped_reward']` by environment steps so far; None
      for none.
  """

  num_envs: int = 16
  num_steps: int = 128
  num_epochs: int = 4
  num_minibatches: int = 4
  learning_rate: float | optax.Schedule = 2.5e-4
  discount: float = 0.99
  trace: float = 0.95
  clip: float = 0.2
  value_clip: float | None = None
  entropy_weight: float = 0.01
  value_weight: float = 0.5
  max_grad_norm: float = 0.5
  shaping: optax.Schedule | None = None


def clipped_surrogate(clip: float | Float[Array, '']) -> Surrogate:
  """`min(r A, clip(r, 1 - clip, 1 + clip) A)` (1707.06347, equation 7)."""
  return lambda ratio, advantage: jnp.minimum(
    ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage
  )


def ppo(
  env: envs.Environment,
  actor: networks.AgentsNet,
  critic: networks.AgentsNet,
  critic_obs: CriticObsFn,
  hyper: PPO,
  *,
  surrogate: Surrogate | None = None,
  env_params: Any = None,
) -> Learner:
  """PPO with networks of one's own.

  Args:
    env: without `auto_reset`.
    actor: outputs `num_logits(env)`.
    critic: outputs one value.
    critic_obs: `(state, obs [A, ...], params) -> [A, ...]`, what it sees.
    hyper: numbers.
    surrogate: what is maximised of ratio and advantage; None for PPO's.
    env_params: of the environment; None for the default.

  Returns:
    The learner; the policy's params are the actor's.

  Raises:
    ValueError: if minibatches do not come out even.
  """
  env_params = env.default_params if env_params is None else env_params
  surrogate = surrogate or clipped_surrogate(hyper.clip)

  nets = actor_critic(env, actor, critic, critic_obs, env_params)

  def targets(params, played):
    last = last_values(nets.behaviour, params, played.running)
    return advantages(played.rollout, last, hyper.discount, hyper.trace)

  def loss(params, memories, batch):
    now = nets.again(params, memories, batch.rollout)
    return ppo_loss(now.law, now.value, batch, surrogate, hyper)

  return actor_critic_learner(
    env,
    nets,
    unchanging(targets, loss),
    optax.chain(
      optax.clip_by_global_norm(hyper.max_grad_norm),
      optax.adam(hyper.learning_rate, eps=1e-5),
    ),
    hyper,
    env_params,
  )


def advantages(
  rollout: Rollout,
  last: Float[Array, 'E A'],
  discount: float | Float[Array, ''],
  trace: float | Float[Array, ''],
) -> Float[Array, 'T E A']:
  """Generalised advantages of a rollout that ends in a state worth `last`."""
  return gae(
    rollout.reward,
    rollout.kept.value,
    rollouts.next_values(rollout.kept.value, last, rollout),
    rollout.terminated[..., None],
    rollout.truncated[..., None],
    discount=discount,
    trace=trace,
  )


def standardized(
  x: Float[Array, 'T E A'], weight: Float[Array, 'T E A']
) -> Float[Array, 'T E A']:
  """Less the mean, over the standard deviation, by weights that sum to 1."""
  centered = x - jnp.sum(x * weight)
  return centered * jax.lax.rsqrt(jnp.sum(centered**2 * weight) + 1e-8)


def ppo_loss(
  law: ActionLaw,
  value: Float[Array, 'T E A'],
  batch: Batch,
  surrogate: Surrogate,
  hyper: PPO,
) -> tuple[Float[Array, ''], dict[str, Float[Array, '']]]:
  """The loss of a minibatch, means over the agents that take part.

  Advantages, the batch's target, are standardised within the minibatch.

  Args:
    law: of actions now.
    value: of states now.
    batch: a part of a rollout, and its advantages.
    surrogate: of ratio and advantage.
    hyper: numbers.

  Returns:
    `-surrogate + value_weight * value loss - entropy_weight * entropy`, and
    what it is made of.
  """
  part, advantage = batch
  weight = rollouts.active_weights(part)
  mean = lambda x: jnp.sum(x * weight)
  log_ratio = law.log_prob(part.action) - part.kept.log_prob
  ratio = jnp.exp(log_ratio)
  policy_loss = -mean(surrogate(ratio, standardized(advantage, weight)))
  entropy = mean(law.entropy())
  value_loss = mean(
    _value_error(value, part.kept.value, advantage, hyper.value_clip)
  )
  loss = (
    policy_loss
    + hyper.value_weight * value_loss
    - hyper.entropy_weight * entropy
  )
  return loss, {
    'policy_loss': policy_loss,
    'value_loss': value_loss,
    'entropy': entropy,
    'approximate_kl': mean(ratio - 1 - log_ratio),
    'clip_fraction': mean(jnp.abs(ratio - 1) > hyper.clip),
  }


def _value_error(value, old, advantage, clip):
  """Half the squared error, or that of the clipped value if it is larger."""
  target = old + advantage
  error = (value - target) ** 2
  if clip is not None:
    near = old + jnp.clip(value - old, -clip, clip)
    error = jnp.maximum(error, (near - target) ** 2)
  return 0.5 * error
