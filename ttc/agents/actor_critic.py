"""An actor that plays and a critic that judges, as one behaviour."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
from jaxtyping import Array, Float, Shaped

from ttc import envs
from ttc.agents import actors, networks
from ttc.agents.rollouts import Behaviour

# `(state, obs [A, ...], env_params) -> [A, ...]`, what a critic sees.
CriticObsFn: TypeAlias = Callable[[Any, Array, Any], Array]


class Judged(NamedTuple):
  """What is kept of a step."""

  critic_obs: Shaped[Array, 'E A *seen']
  log_prob: Float[Array, 'E A']
  value: Float[Array, 'E A']


def actor_critic(
  env: envs.Environment,
  actor: networks.AgentsNet,
  critic: networks.AgentsNet,
  critic_obs: CriticObsFn,
  env_params: Any,
) -> Behaviour:
  """Draws from an actor's law and keeps what a critic says.

  Args:
    env: whose agents act.
    actor: outputs `num_logits(env)`; params `params['actor']`.
    critic: outputs one value; params `params['critic']`.
    critic_obs: what it sees.
    env_params: of the environment.
  """
  see = jax.vmap(lambda state, obs: critic_obs(state, obs, env_params))

  def judge(params, states, obs, memories, reset):
    seen = see(states, obs)
    value, memory = critic.apply(
      params['critic'], seen[None], memories['critic'], reset[None]
    )
    return value[0, ..., 0], memory, seen

  def act(params, keys, states, now, legal, steps):
    del steps
    outputs, memory = actor.apply(
      params['actor'], now.obs[None], now.memories['actor'], now.reset[None]
    )
    law = actors.action_law(env, outputs[0], legal)
    action = jax.vmap(lambda law, key: law.sample(key))(law, keys)
    value, critic_memory, seen = judge(
      params, states, now.obs, now.memories, now.reset
    )
    memories = {'actor': memory, 'critic': critic_memory}
    return action, memories, Judged(seen, law.log_prob(action), value)

  return Behaviour(act, lambda *args: judge(*args)[0])
