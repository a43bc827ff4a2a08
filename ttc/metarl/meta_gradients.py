r"""Truncated meta-gradients: rules improved through a few updates of agents.

Oh et al., 2020, 2007.08794, section 3.2. A population of agents lives by the
rule. Every meta-update follows each of them through `K` updates, plays with
the agent that they lead to, and asks how the rule should have been for that
agent to be better:

.. math::
  \nabla_\eta E[-\log \pi_{\theta_K}(a | s) \hat A - \beta_0 H(\pi)
    - \beta_1 H(y) + \beta_2 \hat\pi^2 + \beta_3 \|\hat y\|^2]

with advantages of a critic that each agent has for this purpose, trained here.
What happens after the `K` updates is not seen. Costs: a population of `P`
takes `P (K + 1)` rollouts, their updates forward, again and backward; memory is
that of `K` states of agents, the inside of an update being computed twice.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from ttc.agents import AgentsNet, Learner, for_agents
from ttc.agents.actor_critic import Outputs, actor_critic
from ttc.agents.learner import LearnerState, Metrics, env_keys
from ttc.agents.ppo import advantages, standardized
from ttc.agents.rollouts import Rollout, active_weights, collector
from ttc.metarl.evolution import even_chunk
from ttc.metarl.inner_loop import learner, networks_of
from ttc.metarl.lifetimes import where
from ttc.metarl.meta_task import Life, MetaTask, draw_life
from ttc.metarl.rules.interface import UpdateRule, mean_over
from ttc.types import Params


class MetaGradients(NamedTuple):
  """Numbers; the defaults are those of the public code of 2310.02782.

  Attributes:
    num_agents: `P`, lives at the same time.
    num_updates: `K`, that a gradient sees.
    critic_rate: of Adam, for the critics.
    discount: of advantages.
    trace: of advantages.
    policy_entropy: beta_0.
    prediction_entropy: beta_1.
    policy_target: beta_2, of `pi_hat` squared.
    prediction_target: beta_3, of the logits of `y_hat` squared.
  """

  num_agents: int = 512
  num_updates: int = 5
  critic_rate: float = 1e-3
  discount: float = 0.99
  trace: float = 0.95
  policy_entropy: float = 5e-2
  prediction_entropy: float = 1e-3
  policy_target: float = 5e-3
  prediction_target: float = 1e-3


class Lives(NamedTuple):
  """Agents on their way, leaves `[P, ...]`."""

  life: Life
  agent: LearnerState
  critic: Params
  critic_opt: optax.OptState


class MetaState(NamedTuple):
  """Everything that meta-training needs to go on."""

  params: Params
  opt_state: optax.OptState
  lives: Lives
  updates: Int[Array, '']
  key: PRNGKeyArray


class MetaGradient(NamedTuple):
  """A pair of pure functions.

  Attributes:
    init: `(meta, key) -> state`.
    update: `state -> (state, metrics)`, means over the population.
  """

  init: Callable[[Params, PRNGKeyArray], MetaState]
  update: Callable[[MetaState], tuple[MetaState, Metrics]]


def meta_gradients(
  task: MetaTask,
  rule: UpdateRule,
  optimizer: optax.GradientTransformation,
  numbers: MetaGradients = MetaGradients(),  # noqa: B008
  *,
  chunk_size: int | None = None,
  mesh: Mesh | None = None,
) -> MetaGradient:
  """Meta-training by truncated meta-gradients.

  Args:
    task: lives of the population.
    rule: to be improved; differentiable in its parameters.
    optimizer: of these. The public code has Adam with 1e-4, clipped to 0.5.
    numbers: of the method.
    chunk_size: agents followed at a time; None for all at once. Divides the
      agents of a device.
    mesh: with an axis `data`, over which agents are spread; None for one
      device.

  Returns:
    Init and update.

  Raises:
    ValueError: if agents do not come out even.
  """
  num_agents = numbers.num_agents
  size = even_chunk('num_agents', num_agents, chunk_size, mesh)
  setting = setting_of(task, rule, numbers)

  def init(meta, key):
    keys = env_keys(key, num_agents)
    lives = jax.vmap(lambda key: begin(setting, meta, key))(keys)
    updates = jnp.zeros((), jnp.int32)
    return MetaState(meta, optimizer.init(meta), lives, updates, key)

  def some(meta, lives, keys):
    num_chunks = keys.shape[0] // size
    parts = jax.tree.map(
      lambda x: x.reshape(num_chunks, size, *x.shape[1:]), (lives, keys)
    )
    sums, lives = jax.lax.map(
      lambda part: of_chunk(setting, meta, *part), parts
    )
    join = lambda x: x.reshape(num_chunks * size, *x.shape[2:])
    means = jax.tree.map(lambda x: jnp.sum(x, axis=0) / num_agents, sums)
    return means, jax.tree.map(join, lives)

  def spread(meta, lives, keys):
    means, lives = some(meta, lives, keys)
    return jax.lax.psum(means, 'data'), lives

  step = some
  if mesh is not None:
    step = jax.shard_map(
      spread,
      mesh=mesh,
      in_specs=(P(), P('data'), P('data')),
      out_specs=(P(), P('data')),
      check_vma=False,
    )

  def update(state):
    key = jax.random.fold_in(state.key, state.updates + 1)
    keys = env_keys(key, num_agents)
    (grads, metrics), lives = step(state.params, state.lives, keys)
    changes, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, changes)
    metrics['meta_gradient_norm'] = optax.tree.norm(grads)
    state = MetaState(params, opt_state, lives, state.updates + 1, state.key)
    return state, metrics

  return MetaGradient(init, update)


class Setting(NamedTuple):
  """What is the same for all agents of the population."""

  task: MetaTask
  rule: UpdateRule
  numbers: MetaGradients
  actor: AgentsNet
  critic: AgentsNet  # the meta-gradient's own
  critic_optimizer: optax.GradientTransformation


def setting_of(
  task: MetaTask, rule: UpdateRule, numbers: MetaGradients
) -> Setting:
  """Networks of a population."""
  env, architecture = task.env, task.agent.architecture
  return Setting(
    task,
    rule,
    numbers,
    networks_of(env, rule, architecture)['actor'],
    for_agents(
      architecture._replace(memory_width=0),
      1,
      env.num_agents,
      env.observation_shape,
    ),
    optax.adam(numbers.critic_rate),
  )


def agent_of(setting: Setting, meta: Params, life: Life) -> Learner:
  """The agent of a life."""
  task = setting.task
  return learner(
    task.env,
    setting.rule,
    meta,
    life.horizon,
    task.agent,
    env_params=life.env_params,
  )


def begin(setting: Setting, meta: Params, key: PRNGKeyArray) -> Lives:
  """A new agent, and its critic."""
  life_key, agent_key, critic_key = jax.random.split(key, 3)
  life = draw_life(setting.task, life_key)
  critic = setting.critic.init(critic_key)
  return Lives(
    life,
    agent_of(setting, meta, life).init(agent_key),
    critic,
    setting.critic_optimizer.init(critic),
  )


def of_chunk(
  setting: Setting, meta: Params, lives: Lives, keys: Key[Array, ' P']
) -> tuple[tuple[Params, Metrics], Lives]:
  """The gradient and metrics of some agents, summed, and what they become."""
  lives = renew(setting, meta, lives, keys)

  def loss(meta):
    each = jax.vmap(lambda life, key: follow(setting, meta, life, key))
    losses, out = each(lives, keys)
    return jnp.sum(losses), out

  grads, (lives, metrics) = jax.grad(loss, has_aux=True)(meta)
  return (grads, jax.tree.map(lambda x: jnp.sum(x, axis=0), metrics)), lives


def renew(
  setting: Setting, meta: Params, lives: Lives, keys: Key[Array, ' P']
) -> Lives:
  """New agents where lives are over; nothing is computed if none is."""
  over = lives.agent.updates >= lives.life.horizon

  def replace(lives):
    begin_keys = jax.vmap(lambda key: jax.random.split(key)[0])(keys)
    fresh = jax.vmap(lambda key: begin(setting, meta, key))(begin_keys)
    return jax.vmap(where)(over, fresh, lives)

  return jax.lax.cond(jnp.any(over), replace, lambda lives: lives, lives)


def follow(
  setting: Setting, meta: Params, lives: Lives, key: PRNGKeyArray
) -> tuple[Float[Array, ''], tuple[Lives, Metrics]]:
  """`K` updates of an agent and what they are worth.

  Returns:
    The outer loss; then the agent after these updates with its critic after one
    more step, and metrics.
  """
  _, play_key = jax.random.split(key)
  agent, metrics = live_on(setting, meta, lives)
  played = play(setting, agent, lives, play_key)
  loss = outer_loss(setting.numbers, played, metrics)
  critic_loss, critic, critic_opt = improve_critic(setting, lives, played)
  told = {
    'meta_loss': loss,
    'critic_loss': critic_loss,
    'reward': jnp.mean(played.rollout.reward),
    'entropy': jnp.mean(metrics['entropy']),
  }
  lives = Lives(lives.life, agent, critic, critic_opt)
  return loss, jax.lax.stop_gradient((lives, told))


def live_on(
  setting: Setting, meta: Params, lives: Lives
) -> tuple[LearnerState, dict[str, Float[Array, ' K']]]:
  """`K` updates, none after the end of life.

  Each is computed again when gradients come back through it.
  """

  @jax.checkpoint
  def step(state, _):
    after, metrics = agent_of(setting, meta, lives.life).update(state)
    return where(state.updates < lives.life.horizon, after, state), metrics

  return jax.lax.scan(step, lives.agent, length=setting.numbers.num_updates)


class Fresh(NamedTuple):
  """What an agent does after the updates, judged by the critic.

  Attributes:
    rollout: of it.
    advantage: of its actions.
    params: of agent and critic.
    again: `params -> outputs` on the rollout.
  """

  rollout: Rollout
  advantage: Float[Array, 'T E A']
  params: Mapping[str, Params]
  again: Callable[[Mapping[str, Params]], Outputs]


def play(
  setting: Setting, agent: LearnerState, lives: Lives, key: PRNGKeyArray
) -> Fresh:
  """A rollout from where the agent is; it has no part in its life."""
  task, numbers = setting.task, setting.numbers
  hyper, env_params = task.agent.hyper, lives.life.env_params
  nets = actor_critic(
    task.env, setting.actor, setting.critic, lambda s, obs, p: obs, env_params
  )
  memories = {
    'actor': agent.envs.memories['actor'],
    'critic': setting.critic.initial_memory(
      hyper.num_envs, task.env.num_agents
    ),
  }
  collect = collector(
    task.env,
    nets.behaviour,
    hyper.num_envs,
    hyper.num_steps,
    env_params=env_params,
  )
  params = {'actor': agent.params['actor'], 'critic': lives.critic}
  before = agent.envs._replace(memories=memories)
  running, rollout, _ = jax.lax.stop_gradient(
    collect(key, params, before, jnp.zeros(()))
  )
  last = jax.lax.stop_gradient(nets.at_end(params, running).value)
  return Fresh(
    rollout,
    advantages(rollout, last, numbers.discount, numbers.trace),
    params,
    lambda params: nets.again(params, memories, rollout),
  )


def outer_loss(
  numbers: MetaGradients,
  played: Fresh,
  metrics: Mapping[str, Float[Array, ' K']],
) -> Float[Array, '']:
  """What meta-parameters descend, of one agent.

  Args:
    numbers: weights.
    played: by the agent after `K` updates.
    metrics: of these; of rules with `pi_hat` and `y_hat` their squares.
  """
  rollout, outputs = played.rollout, played.again(played.params)
  mean = mean_over(rollout)
  weight = active_weights(rollout)
  log_prob = outputs.law.log_prob(rollout.action)
  log_y = jax.nn.log_softmax(outputs.further)
  y_entropy = -mean(jnp.sum(jnp.exp(log_y) * log_y, axis=-1))
  zero = jnp.zeros(())
  return (
    -mean(log_prob * standardized(played.advantage, weight))
    - numbers.policy_entropy * mean(outputs.law.entropy())
    - numbers.prediction_entropy * y_entropy
    + numbers.policy_target * jnp.mean(metrics.get('pi_hat_square', zero))
    + numbers.prediction_target * jnp.mean(metrics.get('y_hat_square', zero))
  )


def improve_critic(
  setting: Setting, lives: Lives, played: Fresh
) -> tuple[Float[Array, ''], Params, optax.OptState]:
  """A step of the critic towards the returns; the loss is that before it."""
  rollout, params = played.rollout, jax.lax.stop_gradient(played.params)
  wanted = rollout.kept.value + played.advantage

  def loss(critic):
    value = played.again({**params, 'critic': critic}).value
    return 0.5 * mean_over(rollout)((value - wanted) ** 2)

  now, grads = jax.value_and_grad(loss)(lives.critic)
  changes, state = setting.critic_optimizer.update(grads, lives.critic_opt)
  return now, optax.apply_updates(lives.critic, changes), state
