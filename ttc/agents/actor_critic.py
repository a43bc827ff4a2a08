"""An actor that plays and a critic that judges, as one behaviour."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Shaped

from ttc import envs
from ttc.agents import actors, networks
from ttc.agents.distributions import ActionLaw
from ttc.agents.learner import (
  EnvBatch,
  Learner,
  legal_actions,
  start_envs,
)
from ttc.agents.on_policy import Objective, Sizes, on_policy
from ttc.agents.rollouts import Behaviour, Memories, Rollout
from ttc.types import Params

# `(state, obs [A, ...], env_params) -> [A, ...]`, what a critic sees.
CriticObsFn: TypeAlias = Callable[[Any, Array, Any], Array]


class Judged(NamedTuple):
  """What is kept of a step."""

  critic_obs: Shaped[Array, 'E A *seen']
  log_prob: Float[Array, 'E A']
  value: Float[Array, 'E A']
  further: Float[Array, 'E A m']


class Outputs(NamedTuple):
  """What actor and critic say of states.

  Attributes:
    law: of actions.
    value: of the critic.
    further: outputs of the actor behind those of the law, for rules that ask
      agents to predict; `m = 0` of them else.
  """

  law: ActionLaw
  value: Float[Array, '*B A']
  further: Float[Array, '*B A m']


class ActorCritic(NamedTuple):
  """Both networks, and how they are asked.

  Attributes:
    actor: outputs logits, and what rules ask for behind them.
    critic: outputs one value.
    behaviour: draws from the law and keeps a `Judged`.
    again: `(params, memories, rollout) -> Outputs [T, E, A]`, of the steps of a
      rollout, with these params.
    at_end: `(params, running) -> Outputs [E, A]`, of the states that a rollout
      ends in.
  """

  actor: networks.AgentsNet
  critic: networks.AgentsNet
  behaviour: Behaviour
  again: Callable[[Mapping[str, Params], Memories, Rollout], Outputs]
  at_end: Callable[[Mapping[str, Params], EnvBatch], Outputs]


def no_critic() -> networks.AgentsNet:
  """Says 0 of everything: for rules that want no values."""

  def apply(params, obs, memory, reset):
    del params, obs
    return jnp.zeros((*reset.shape, 1), jnp.float32), memory

  return networks.AgentsNet(lambda key: {}, apply, 0)


def actor_critic(
  env: envs.Environment,
  actor: networks.AgentsNet,
  critic: networks.AgentsNet,
  critic_obs: CriticObsFn,
  env_params: Any,
) -> ActorCritic:
  """A behaviour of an actor and a critic.

  Args:
    env: whose agents act.
    actor: outputs `num_logits(env)` or more; params `params['actor']`.
    critic: outputs one value; params `params['critic']`.
    critic_obs: what it sees.
    env_params: of the environment.
  """
  see = jax.vmap(lambda state, obs: critic_obs(state, obs, env_params))
  num_logits = actors.num_logits(env)

  def ask_actor(params, obs, memory, reset, legal):
    outputs, memory = actor.apply(params['actor'], obs, memory, reset)
    law = actors.action_law(env, outputs, legal)
    return law, outputs[..., num_logits:], memory

  def ask_critic(params, seen, memory, reset):
    value, memory = critic.apply(params['critic'], seen, memory, reset)
    return value[..., 0], memory

  def judge(params, now, env_states, legal):
    """Of one step, as a sequence of length 1."""
    seen = see(env_states, now.obs)
    law, further, memory = ask_actor(
      params, now.obs[None], now.memories['actor'], now.reset[None], legal[None]
    )
    value, critic_memory = ask_critic(
      params, seen[None], now.memories['critic'], now.reset[None]
    )
    outputs = jax.tree.map(lambda x: x[0], Outputs(law, value, further))
    return outputs, {'actor': memory, 'critic': critic_memory}, seen

  def act(params, keys, states, now, legal, steps):
    del steps
    outputs, memories, seen = judge(params, now, states, legal)
    law = outputs.law
    action = jax.vmap(lambda law, key: law.sample(key))(law, keys)
    kept = Judged(seen, law.log_prob(action), outputs.value, outputs.further)
    return action, memories, kept

  def value(params, states, obs, memories, reset):
    seen = see(states, obs)[None]
    return ask_critic(params, seen, memories['critic'], reset[None])[0][0]

  def again(params, memories, rollout):
    law, further, _ = ask_actor(
      params, rollout.obs, memories['actor'], rollout.reset, rollout.legal
    )
    seen = rollout.kept.critic_obs
    value, _ = ask_critic(params, seen, memories['critic'], rollout.reset)
    return Outputs(law, value, further)

  def at_end(params, running):
    states = running.states.env_state
    legal = jax.vmap(lambda s: legal_actions(env, s, env_params))(states)
    return judge(params, running, states, legal)[0]

  return ActorCritic(actor, critic, Behaviour(act, value), again, at_end)


def actor_critic_learner(
  env: envs.Environment,
  nets: ActorCritic,
  objective: Objective,
  optimizer: optax.GradientTransformation,
  sizes: Sizes,
  env_params: Any,
) -> Learner:
  """A learner of an actor and a critic.

  Args:
    env: without `auto_reset`.
    nets: that learn; params `{'actor': ..., 'critic': ...}`.
    objective: of the learning.
    optimizer: of both.
    sizes: hyper-parameters.
    env_params: of the environment.

  Returns:
    The learner; the policy's params are the actor's.

  Raises:
    ValueError: if minibatches do not come out even.
  """
  both = {'actor': nets.actor, 'critic': nets.critic}

  def start(key):
    key, actor_key, critic_key, env_key = jax.random.split(key, 4)
    params = {
      'actor': nets.actor.init(actor_key),
      'critic': nets.critic.init(critic_key),
    }
    memories = {
      name: net.initial_memory(sizes.num_envs, env.num_agents)
      for name, net in both.items()
    }
    running = start_envs(env, env_params, env_key, sizes.num_envs, memories)
    return key, params, running

  init, update = on_policy(
    env,
    nets.behaviour,
    start,
    objective,
    optimizer,
    sizes,
    has_memory=any(net.memory_width for net in both.values()),
    env_params=env_params,
  )
  return Learner(
    init,
    update,
    lambda state: state.params['actor'],
    actors.actor_policy(env, nets.actor),
    sizes.num_envs * sizes.num_steps,
  )
