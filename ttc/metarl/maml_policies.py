r"""MAML of policies: one step of policy gradients adapts them (1703.03400).

Of each task `K` episodes are played, one gradient step is taken from these, and
`K` more are played with the policy that it leads to, whose return is what
counts. The inner step goes up the surrogate

.. math::
  \hat J(\theta) = \frac1{K T} \sum_{i, t}
    \frac{\pi_\theta(a_{it} | s_{it})}{\pi_{\theta_0}(a_{it} | s_{it})} A_{it}

at :math:`\theta = \theta_0`, the sampling policy. Its first derivative is the
usual gradient; its second one, :math:`A (\nabla^2 \log \pi + \nabla \log \pi
\nabla \log \pi^\top)`, is what the meta-gradient asks for: it includes how the
actions that are played depend on :math:`\theta`, step by step. That is the
low-variance curvature of ProMP (Rothfuss et al., 2018, 1810.06784, section 5),
exact for episodes of one step; across steps it leaves terms out that DiCE
(1802.05098) has, at much more noise. `'log_likelihood'` steps up
:math:`A \log \pi` as the first public code did, whose curvature lacks the outer
product and is biased even for one step. Neither credits a policy for what its
exploration lets the step find out (E-MAML, 1803.01118, does).

The outer objective is PPO's on the second half, with all derivatives through
the inner step, `num_epochs` times on the same episodes (ProMP without its
penalty). Advantages are returns to go less the mean of the other episodes of
the task at that step, standardised. An update of `B` tasks costs `2 B K T`
environment steps and `num_epochs` meta-gradients.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ttc import agents, envs
from ttc.agents import actors, for_agents
from ttc.agents.actor_critic import ActorCritic, actor_critic, no_critic
from ttc.agents.gae import gae
from ttc.agents.learner import env_keys, start_envs
from ttc.agents.ppo import clipped_surrogate, standardized
from ttc.agents.rollouts import Rollout, active_weights, collector
from ttc.metarl.maml import (
  MAMLState,
  Meta,
  adapt,
  check_tasks,
  descend,
  init_state,
  task_keys,
)
from ttc.metarl.rl2 import Trial
from ttc.types import Params

INNER = ('likelihood_ratio', 'log_likelihood')


class PolicyMAML(NamedTuple):
  """Numbers; the defaults learn PointRobot in a minute.

  Attributes:
    num_tasks: `B` of an update.
    num_episodes: `K` of each task, at least 2, before and after the inner step.
    num_steps: `T`, longest episode.
    rate: of the inner step; where rates are learned, at first.
    learn_rates: one for each leaf.
    first_order: leave second derivatives out.
    inner: objective of the inner step.
    num_epochs: steps of the meta-parameters on the same episodes.
    learning_rate: of Adam, for these.
    discount: gamma.
    clip: epsilon of the ratio, of the outer objective.
    max_grad_norm: meta-gradients are clipped to.
  """

  num_tasks: int = 20
  num_episodes: int = 20
  num_steps: int = 20
  rate: float = 0.1
  learn_rates: bool = False
  first_order: bool = False
  inner: Literal['likelihood_ratio', 'log_likelihood'] = 'likelihood_ratio'
  num_epochs: int = 1
  learning_rate: float | optax.Schedule = 1e-3
  discount: float = 0.99
  clip: float = 0.2
  max_grad_norm: float = 0.5


class Episodes(NamedTuple):
  """Played in one task, one episode in each environment.

  Attributes:
    rollout: of the steps; `active` only until the end of the first episode.
    advantage: of its actions.
    returns: of the episodes, undiscounted, means over agents.
  """

  rollout: Rollout
  advantage: Float[Array, 'T E A']
  returns: Float[Array, ' E']


class Halves(NamedTuple):
  """Episodes of a task, before the inner step and after it."""

  before: Episodes
  after: Episodes


def maml_policy(
  env: envs.Environment,
  tasks: envs.TaskDistribution,
  numbers: PolicyMAML = PolicyMAML(),  # noqa: B008
  architecture: agents.Architecture = agents.Architecture(),  # noqa: B008
  *,
  mesh: Mesh | None = None,
) -> agents.Learner:
  """Learns a policy from which one step of policy gradients leads far.

  Args:
    env: without `auto_reset`.
    tasks: params of it.
    numbers: of the method.
    architecture: of the policy, without a memory.
    mesh: with an axis `data`, over which tasks are spread; None for one device.

  Returns:
    The learner, with `state.meta`; its policy's params are those before
    adaptation. Metrics are mean returns, `return_before` and `return_after`
    the inner step, and `meta_gradient_norm`.

  Raises:
    ValueError: on a memory, numbers that mean nothing, or tasks that do not
      come out even.
  """
  check_tasks(numbers.num_tasks, mesh)
  nets = _networks(env, architecture, numbers)
  optimizer = optax.chain(
    optax.clip_by_global_norm(numbers.max_grad_norm),
    optax.adam(numbers.learning_rate, eps=1e-5),
  )

  def init(key):
    params = nets.actor.init(jax.random.fold_in(key, 0))
    key = jax.random.fold_in(key, 1)
    return init_state(params, numbers.rate, numbers.learn_rates, optimizer, key)

  def play_halves(meta, key):
    task_key, before_key, after_key = jax.random.split(key, 3)
    task = tasks.sample(task_key)
    before = play(env, nets, meta.params, task, numbers, before_key)
    adapted = one_step(nets, meta, before, numbers)
    return Halves(before, play(env, nets, adapted, task, numbers, after_key))

  def loss(meta, halves):
    each = lambda half: outer_loss(nets, meta, half, numbers)
    return jnp.mean(jax.vmap(each)(halves))

  def update(state):
    keys = task_keys(state, numbers.num_tasks, mesh)
    halves = jax.vmap(lambda key: play_halves(state.meta, key))(keys)
    halves = jax.lax.stop_gradient(halves)

    def epoch(carry, _):
      meta, opt_state = carry
      grads = jax.grad(loss)(meta, halves)
      carry = descend(optimizer, numbers.learn_rates, meta, opt_state, grads)
      return carry, optax.tree.norm(grads)

    (meta, opt_state), norms = jax.lax.scan(
      epoch, (state.meta, state.opt_state), length=numbers.num_epochs
    )
    metrics = {
      'return_before': jnp.mean(halves.before.returns),
      'return_after': jnp.mean(halves.after.returns),
      'meta_gradient_norm': norms[0],
    }
    return MAMLState(meta, opt_state, state.updates + 1, state.key), metrics

  return agents.Learner(
    init,
    update,
    lambda state: state.meta.params,
    actors.actor_policy(env, nets.actor),
    2 * numbers.num_tasks * numbers.num_episodes * numbers.num_steps,
  )


def adapted_episodes(
  env: envs.Environment,
  meta: Meta,
  key: PRNGKeyArray,
  tasks: Any,
  num_rounds: int = 1,
  numbers: PolicyMAML = PolicyMAML(),  # noqa: B008
  architecture: agents.Architecture = agents.Architecture(),  # noqa: B008
) -> Episodes:
  """Adapts to tasks, and plays before, between and after the steps.

  Args:
    env: as in training.
    meta: of a training, `state.meta`.
    key: consumed; a task depends on it and on its number.
    tasks: params of `env`, leaves `[N, ...]`.
    num_rounds: of `K` episodes and a step; static.
    numbers: as in training.
    architecture: as in training.

  Returns:
    Episodes, leaves `[N, num_rounds + 1, ...]`, the first ones of each task
    without adaptation.
  """
  nets = _networks(env, architecture, numbers)

  def one(key, task):
    def step(now, key):
      played = play(env, nets, now.params, task, numbers, key)
      return Meta(one_step(nets, now, played, numbers), now.rates), played

    return jax.lax.scan(step, meta, jax.random.split(key, num_rounds + 1))[1]

  num_tasks = jax.tree.leaves(tasks)[0].shape[0]
  return jax.vmap(one)(env_keys(key, num_tasks), tasks)


def rounds_as_trials(played: Episodes) -> Trial:
  """The first episode of each round, one after another, to be looked at.

  Args:
    played: from `adapted_episodes`, leaves `[N, rounds, ...]`.
  """
  first = jax.tree.map(lambda x: x[:, :, :, 0], played.rollout)
  num_rounds = first.reward.shape[1]
  number = jnp.arange(num_rounds)[:, None]
  episode = jnp.where(jnp.any(first.active, axis=-1), number, num_rounds)
  one = lambda x: x.reshape(x.shape[0], -1, *x.shape[3:])
  return Trial(one(first.obs), one(first.reward), one(episode))


def play(
  env: envs.Environment,
  nets: ActorCritic,
  params: Params,
  task: Any,
  numbers: PolicyMAML,
  key: PRNGKeyArray,
) -> Episodes:
  """`K` episodes of a task."""
  num = numbers.num_episodes
  reset_key, step_key = jax.random.split(key)
  memories = {
    name: net.initial_memory(num, env.num_agents)
    for name, net in (('actor', nets.actor), ('critic', nets.critic))
  }
  collect = collector(
    env, nets.behaviour, num, numbers.num_steps, env_params=task
  )
  start = start_envs(env, task, reset_key, num, memories)
  _, rollout, _ = collect(
    step_key, {'actor': params, 'critic': {}}, start, jnp.zeros(())
  )
  done = rollout.terminated | rollout.truncated
  first = jnp.cumsum(done, axis=0) - done == 0
  rollout = rollout._replace(active=rollout.active & first[..., None])
  reward = jnp.where(first[..., None], rollout.reward, 0.0)
  return Episodes(
    rollout,
    others_advantage(reward, rollout.active, numbers.discount),
    jnp.sum(jnp.mean(reward, axis=-1), axis=0),
  )


def others_advantage(
  reward: Float[Array, 'T E A'],
  active: Bool[Array, 'T E A'],
  discount: float,
) -> Float[Array, 'T E A']:
  """Returns to go less the mean of the other episodes' at that step.

  Others do not know the action, so that gradients stay unbiased; 0 where there
  are no others.

  Args:
    reward: 0 behind the end of an episode.
    active: until then.
    discount: gamma.
  """
  zeros, never = jnp.zeros_like(reward), jnp.zeros(reward.shape, bool)
  to_go = gae(reward, zeros, zeros, never, never, discount=discount, trace=1.0)
  to_go = jnp.where(active, to_go, 0.0)
  others = jnp.sum(active, axis=1, keepdims=True) - active
  total = jnp.sum(to_go, axis=1, keepdims=True) - to_go
  known = active & (others > 0)
  return jnp.where(known, to_go - total / jnp.maximum(others, 1), 0.0)


def one_step(
  nets: ActorCritic, meta: Meta, played: Episodes, numbers: PolicyMAML
) -> Params:
  """The policy after the inner step, a differentiable function of `meta`."""
  return adapt(
    meta.params,
    lambda params, played: inner_loss(nets, params, played, numbers.inner),
    played,
    meta.rates,
    1,
    first_order=numbers.first_order,
  )


def inner_loss(
  nets: ActorCritic, params: Params, played: Episodes, kind: str
) -> Float[Array, '']:
  """Minus the surrogate that an inner step goes up."""
  rollout, weight, advantage = _judged(played)
  log_prob = _log_prob(nets, params, rollout)
  if kind == 'log_likelihood':
    return -jnp.sum(weight * log_prob * advantage)
  ratio = jnp.exp(log_prob - rollout.kept.log_prob)
  return -jnp.sum(weight * ratio * advantage)


def outer_loss(
  nets: ActorCritic, meta: Meta, halves: Halves, numbers: PolicyMAML
) -> Float[Array, '']:
  """PPO's, of the episodes after the inner step."""
  adapted = one_step(nets, meta, halves.before, numbers)
  rollout, weight, advantage = _judged(halves.after)
  log_prob = _log_prob(nets, adapted, rollout)
  ratio = jnp.exp(log_prob - rollout.kept.log_prob)
  surrogate = clipped_surrogate(numbers.clip)
  return -jnp.sum(weight * surrogate(ratio, advantage))


def _judged(played):
  """Steps, weights that sum to 1, and standardised advantages."""
  weight = active_weights(played.rollout)
  return played.rollout, weight, standardized(played.advantage, weight)


def _log_prob(nets, params, rollout):
  """Of the actions that were taken, with these params."""
  num, num_agents = rollout.active.shape[1:]
  memories = {
    'actor': nets.actor.initial_memory(num, num_agents),
    'critic': nets.critic.initial_memory(num, num_agents),
  }
  both = {'actor': params, 'critic': {}}
  return nets.again(both, memories, rollout).law.log_prob(rollout.action)


def _networks(env, architecture, numbers):
  """An actor alone, of numbers that mean something."""
  for name, value, fine, expected in (
    (
      'memory_width',
      architecture.memory_width,
      not architecture.memory_width,
      '0: what is adapted are parameters',
    ),
    (
      'num_episodes',
      numbers.num_episodes,
      numbers.num_episodes >= 2,
      '>= 2, which are compared with each other',
    ),
    (
      'inner',
      numbers.inner,
      numbers.inner in INNER,
      f'one of {", ".join(INNER)}',
    ),
  ):
    if not fine:
      raise ValueError(f'maml_policy: {name}={value!r}, expected {expected}')
  actor = for_agents(
    architecture,
    actors.num_logits(env),
    env.num_agents,
    env.observation_shape,
    head_scale=0.01,
  )
  return actor_critic(env, actor, no_critic(), lambda s, obs, p: obs, None)
