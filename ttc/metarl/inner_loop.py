"""Agents whose learning is an update rule.

One inner loop for every rule, agent and environment: that of
`ttc.agents.on_policy`, with the rule's targets and loss. The rule's parameters
and the horizon may be traced, so a population of rules, of agents and of levels
is `vmap` over `learner`:

  def fitness(meta, key):
    agent = metarl.learner(env, rule, meta, horizon)
    state, metrics = metarl.live(agent, key, horizon, max_horizon=100)
    ...
"""

from typing import Any, NamedTuple

import optax
from jaxtyping import Array, Num

from ttc import envs
from ttc.agents import PPO, AgentsNet, Architecture, actors, for_agents
from ttc.agents.actor_critic import (
  actor_critic,
  actor_critic_learner,
  no_critic,
)
from ttc.agents.learner import Learner
from ttc.agents.on_policy import Objective
from ttc.metarl.optimizers import adam, clip_by_global_norm
from ttc.metarl.rules.interface import Experience, Lifetime, UpdateRule
from ttc.types import Params


class Agent(NamedTuple):
  """An agent that a rule trains.

  Attributes:
    hyper: sizes, and numbers that rules use: each says which.
    architecture: of actor and critic.
    optimizer: of params `{'actor': ..., 'critic': ...}`; None for Adam with
      the numbers' learning rate and clipping.
  """

  hyper: PPO = PPO(num_envs=64, num_steps=20, num_epochs=1, num_minibatches=1)
  architecture: Architecture = Architecture((32,), activation='relu')
  optimizer: optax.GradientTransformation | None = None


def tabular_agent(
  num_envs: int = 64,
  num_steps: int = 20,
  *,
  actor_rate: float = 40.0,
  critic_rate: float = 4.0,
  max_grad_norm: float = 0.5,
) -> Agent:
  """A linear layer for actor and critic each, trained by SGD.

  Numbers of the public code of 2310.02782; rates are large since gradients are
  clipped first.

  Args:
    num_envs: `E`.
    num_steps: `T` of an update.
    actor_rate: of the actor.
    critic_rate: of the critic.
    max_grad_norm: of all gradients together.
  """
  hyper = PPO(num_envs, num_steps, num_epochs=1, num_minibatches=1)
  optimizer = optax.chain(
    clip_by_global_norm(max_grad_norm),
    optax.multi_transform(
      {'actor': optax.sgd(actor_rate), 'critic': optax.sgd(critic_rate)},
      {'actor': 'actor', 'critic': 'critic'},
    ),
  )
  return Agent(hyper, Architecture((), biases=False), optimizer)


def learner(
  env: envs.Environment,
  rule: UpdateRule,
  meta: Params,
  horizon: Num[Array, ''] | int,
  agent: Agent = Agent(),  # noqa: B008
  *,
  env_params: Any = None,
) -> Learner:
  """An agent that learns by a rule.

  Args:
    env: without `auto_reset`.
    rule: how it learns.
    meta: the rule's parameters; may be traced.
    horizon: `N`, updates of its life; may be traced.
    agent: what it is.
    env_params: of the environment, may be traced; None for the default.

  Returns:
    The learner; the policy's params are the actor's.

  Raises:
    ValueError: if minibatches do not come out even, or actions are continuous
      and the rule is for discrete ones.
  """
  env_params = env.default_params if env_params is None else env_params
  hyper, net = agent.hyper, networks_of(env, rule, agent.architecture)
  nets = actor_critic(
    env, net['actor'], net['critic'], lambda s, obs, p: obs, env_params
  )
  return actor_critic_learner(
    env,
    nets,
    _objective(rule, meta, horizon, hyper, nets),
    agent.optimizer or adam(hyper.learning_rate, hyper.max_grad_norm),
    hyper,
    env_params,
  )


def networks_of(
  env: envs.Environment, rule: UpdateRule, architecture: Architecture
) -> dict[str, AgentsNet]:
  """Actor and critic of a rule's agents.

  Args:
    env: that they act in.
    rule: says how many outputs there are behind the logits.
    architecture: of both.

  Raises:
    ValueError: if actions are continuous and the rule is for discrete ones.
  """
  if rule.discrete and isinstance(env.action_spaces[0], envs.Box):
    raise ValueError(
      f'{rule.name} is for discrete actions, not {env.action_spaces[0]}'
    )
  num_outputs = actors.num_logits(env)
  make = lambda n, scale: for_agents(
    architecture, n, env.num_agents, env.observation_shape, head_scale=scale
  )
  return {
    'actor': make(num_outputs + rule.num_further(num_outputs), 0.01),
    'critic': make(1, 1.0) if rule.has_critic else no_critic(),
  }


def _objective(rule, meta, horizon, hyper, nets) -> Objective:
  """The rule's, of these networks."""

  def targets(memory, params, played, updates):
    def at_end(params):
      return nets.at_end(params, played.running)

    def again(params):
      outputs = nets.again(params, played.memories, played.rollout)
      return outputs, at_end(params)

    experience = Experience(played.rollout, at_end(params), params, again)
    lifetime = Lifetime(updates, horizon)
    return rule.targets(meta, memory, experience, lifetime, hyper)

  def loss(params, memories, batch, updates):
    outputs = nets.again(params, memories, batch.rollout)
    return rule.loss(meta, outputs, batch, Lifetime(updates, horizon), hyper)

  return Objective(lambda params: rule.start(meta, params), targets, loss)
