"""What meta-training and its test may choose, and what is made of it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import optax

from ttc import agents, envs, metarl
from ttc.drivers import devices, options
from ttc.drivers.environments import make_environment, make_levels
from ttc.drivers.options import option

_whole, _real = options.whole, options.real
_positive = options.real(0.0, 1000.0, above=True)
_share = options.real(0.0, 1.0)

LEARNED = tuple(make.__name__ for make in metarl.LEARNED)
OPTIMIZERS = ('evolution', 'meta_gradients')
SHAPINGS = {
  'pair_wins': metarl.pair_wins,
  'centered_ranks': metarl.centered_ranks,
  'z_scores': metarl.z_scores,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LifeOptions:
  """The agents that live, and how they are judged.

  Attributes:
    agent: 'table', a linear layer trained by SGD, or 'network', trained by
      Adam.
    num_envs: side by side, of an agent.
    num_steps: of a rollout.
    num_epochs: passes over a rollout.
    num_minibatches: of a pass.
    learning_rate: of the agent; of the actor of a table.
    critic_rate: of a table's critic.
    max_grad_norm: gradients are clipped to.
    discount: gamma.
    trace: lambda, of rules with a critic.
    entropy_weight: of rules with a bonus.
    table_rows: that the first number of an observation points into; 0 for a
      linear layer on all of it (table).
    width: of a network's dense layers.
    num_layers: dense ones.
    channels: of a convolution that images go through first; 0 for none.
    eval_episodes: at the end of a life.
    max_episode_steps: after which these are cut.
  """

  agent: Literal['table', 'network'] = option(
    options.one_of(('table', 'network')), 'network'
  )
  num_envs: int = option(_whole(1, 10**6), 64)
  num_steps: int = option(_whole(1, 10**5), 20)
  num_epochs: int = option(_whole(1, 1000), 1)
  num_minibatches: int = option(_whole(1, 10**6), 1)
  learning_rate: float = option(_positive, 1e-3)
  critic_rate: float = option(_positive, 4.0)
  max_grad_norm: float = option(options.real(0.0, 1e9, above=True), 0.5)
  discount: float = option(_share, 0.99)
  trace: float = option(_share, 0.95)
  entropy_weight: float = option(_real(0.0, 10.0), 0.01)
  table_rows: int = option(_whole(0, 10**7), 0)
  width: int = option(_whole(1, 10_000), 32)
  num_layers: int = option(_whole(1, 20), 1)
  channels: int = option(_whole(0, 10_000), 0)
  eval_episodes: int = option(_whole(1, 10**5), 64)
  max_episode_steps: int = option(_whole(1, 10**5))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetaTrainOptions(LifeOptions):
  """Of a meta-training.

  Attributes:
    rule: that is learned.
    rule_width: of its network.
    num_predictions: `m` of LPG.
    environment: a name, or a call: `bandit(num_arms=20)`.
    levels: a call, `bandit_tasks(num_arms=20)`; '' for the default level.
    low: shortest life, in updates.
    high: longest one.
    meta_optimizer: 'evolution' or 'meta_gradients'.
    num_updates: generations, or steps of the meta-gradient.
    meta_rate: of Adam on the meta-parameters.
    meta_decay: of the rate, an update.
    seed: of everything.
    checkpoint_every: updates.
    chunk_size: pairs or agents at a time; 0 for all.
    replay_probability: of a life on a level of high regret; 0 for none.
    replay_capacity: levels that are kept.
    num_pairs: of a generation (evolution).
    sigma: of its noise (evolution).
    shaping: of fitness (evolution).
    num_agents: alive at a time (meta_gradients).
    num_truncated: updates that a gradient sees, `K` (meta_gradients).
  """

  rule: str = option(options.one_of(LEARNED))
  rule_width: int = option(_whole(1, 10_000))
  num_predictions: int | None = option(_whole(2, 10_000), None)
  environment: str = option(options.text())
  levels: str = option(options.text(empty=True), '')
  low: int = option(_whole(1, 10**5))
  high: int = option(_whole(1, 10**5))
  meta_optimizer: str = option(options.one_of(OPTIMIZERS), 'evolution')
  num_updates: int = option(_whole(1, 10**7))
  meta_rate: float = option(_positive, 1e-2)
  meta_decay: float = option(_share, 0.999)
  seed: int = option(options.seed(), 0)
  checkpoint_every: int = option(_whole(1, 10**6), 50)
  chunk_size: int = option(_whole(0, 10**6), 0)
  replay_probability: float = option(_share, 0.0)
  replay_capacity: int | None = option(_whole(1, 10**6), None)
  num_pairs: int | None = option(_whole(1, 10**6), None)
  sigma: float | None = option(_positive, None)
  shaping: str | None = option(options.one_of(tuple(SHAPINGS)), None)
  num_agents: int | None = option(_whole(1, 10**6), None)
  num_truncated: int | None = option(_whole(1, 1000), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetaTestOptions(LifeOptions):
  """Of a test of frozen rules.

  Attributes:
    rules: names or files of learned ones, and names of others.
    environments: names or calls; `E on L` for levels of one:
      `bandit() on bandit_tasks()`.
    horizons: updates of lives.
    num_seeds: lives of each rule, environment and horizon.
    seed: of the first; the others follow.
  """

  rules: tuple[str, ...] = option(options.several(options.text()))
  environments: tuple[str, ...] = option(options.several(options.text()))
  horizons: tuple[int, ...] = option(options.several(_whole(1, 10**6)))
  num_seeds: int = option(_whole(2, 10**5), 10)
  seed: int = option(options.seed(), 0)


_OWN = {
  'evolution': ('num_pairs', 'sigma', 'shaping'),
  'meta_gradients': ('num_agents', 'num_truncated'),
}
# What is spread over devices, and how many there are.
_POPULATIONS = {
  'evolution': ('num_pairs', 512),
  'meta_gradients': ('num_agents', 512),
}


def make_agent(chosen: LifeOptions) -> metarl.Agent:
  """The agent that lives."""
  if chosen.agent == 'table':
    agent = metarl.tabular_agent(
      actor_rate=chosen.learning_rate,
      critic_rate=chosen.critic_rate,
      max_grad_norm=chosen.max_grad_norm,
    )
    shape = agent.architecture._replace(table=chosen.table_rows)
    agent = agent._replace(architecture=shape)
  elif chosen.table_rows:
    raise ValueError(
      f'config.table_rows={chosen.table_rows} is an option of a table, not of '
      'a network'
    )
  else:
    agent = metarl.Agent(
      architecture=agents.Architecture(
        (chosen.width,) * chosen.num_layers,
        activation='relu',
        channels=chosen.channels,
      )
    )
  hyper = agents.PPO(
    num_envs=chosen.num_envs,
    num_steps=chosen.num_steps,
    num_epochs=chosen.num_epochs,
    num_minibatches=chosen.num_minibatches,
    learning_rate=chosen.learning_rate,
    discount=chosen.discount,
    trace=chosen.trace,
    entropy_weight=chosen.entropy_weight,
    max_grad_norm=chosen.max_grad_norm,
  )
  return agent._replace(hyper=hyper)


def rule_options(chosen: MetaTrainOptions) -> dict[str, Any]:
  """Arguments of the rule's maker.

  Raises:
    ValueError: for one that it has not.
  """
  arguments: dict[str, Any] = {'width': chosen.rule_width}
  if chosen.num_predictions is not None:
    if 'lpg' not in chosen.rule:
      raise ValueError(
        f'config.num_predictions is no option of {chosen.rule}; its own is '
        'rule_width'
      )
    arguments['num_predictions'] = chosen.num_predictions
  return arguments


def make_task(chosen: MetaTrainOptions) -> metarl.MetaTask:
  """What lives are drawn from.

  Raises:
    ValueError: for what is not known or does not go together.
  """
  if chosen.low > chosen.high:
    raise ValueError(
      f'config.low={chosen.low} must be at most config.high={chosen.high}'
    )
  env, levels = make_world(chosen.environment, chosen.levels)
  return _task(chosen, env, levels, chosen.low, chosen.high)


def tasks_of(chosen: MetaTestOptions, horizon: int) -> list[metarl.MetaTask]:
  """Lives of a test, one task for each environment.

  Raises:
    ValueError: for what is not known or does not go together.
  """
  tasks = []
  for call in chosen.environments:
    environment, _, levels = call.partition(' on ')
    env, distribution = make_world(environment, levels)
    tasks.append(_task(chosen, env, distribution, horizon, horizon))
  return tasks


def _task(chosen, env, levels, low, high) -> metarl.MetaTask:
  return metarl.MetaTask(
    env,
    levels,
    low,
    high,
    make_agent(chosen),
    chosen.eval_episodes,
    chosen.max_episode_steps,
  )


def make_world(
  environment: str, levels: str
) -> tuple[envs.Environment, envs.TaskDistribution | None]:
  """An environment and levels of it, from their calls.

  Args:
    environment: a name or a call.
    levels: a call; '' for the default level.

  Raises:
    ValueError: for what is not known, and for levels of another environment.
  """
  env = make_environment(environment)
  if not levels:
    return env, None
  distribution = make_levels(levels)
  level = jax.eval_shape(distribution.sample, jax.random.key(0))
  shapes = lambda tree: [jax.numpy.shape(x) for x in jax.tree.leaves(tree)]
  same = type(level) is type(env.default_params)
  if not same or shapes(level) != shapes(env.default_params):
    raise ValueError(f'{levels!r} are no levels of {environment!r}')
  return env, distribution


def make_meta_learner(
  chosen: MetaTrainOptions, rule: metarl.UpdateRule, task: metarl.MetaTask
) -> Any:
  """Init and update of the meta-optimiser.

  Raises:
    ValueError: for options that it has not, and numbers that do not go
      together.
  """
  own = _OWN[chosen.meta_optimizer]
  for other in {x for names in _OWN.values() for x in names} - set(own):
    if getattr(chosen, other) is not None:
      raise ValueError(
        f'config.{other} is no option of {chosen.meta_optimizer}; its own are '
        f'{", ".join(own)}'
      )
  if chosen.replay_capacity is not None and not chosen.replay_probability:
    raise ValueError(
      'config.replay_capacity is an option of replay; '
      'config.replay_probability must be above 0'
    )
  given = {x: getattr(chosen, x) for x in own if getattr(chosen, x) is not None}
  replay = metarl.Replay(
    chosen.replay_capacity or 4000, chosen.replay_probability
  )
  rate = optax.exponential_decay(chosen.meta_rate, 1, chosen.meta_decay)
  if chosen.meta_optimizer == 'evolution':
    return _evolution(chosen, rule, task, replay, optax.adam(rate), given)
  return _meta_gradients(chosen, rule, task, replay, rate, given)


def meta_mesh(chosen: MetaTrainOptions) -> jax.sharding.Mesh | None:
  """All devices, which share pairs or agents.

  Raises:
    ValueError: if these do not come out even.
  """
  name, default = _POPULATIONS[chosen.meta_optimizer]
  return devices.all_devices(name, getattr(chosen, name) or default)


def _evolution(
  chosen: MetaTrainOptions,
  rule: metarl.UpdateRule,
  task: metarl.MetaTask,
  replay: metarl.Replay,
  optimizer: optax.GradientTransformation,
  given: Mapping[str, Any],
) -> Any:
  num_pairs = given.get(*_POPULATIONS['evolution'])

  def evolve(fitness_fn):
    return metarl.evolution(
      fitness_fn,
      optimizer,
      num_pairs,
      sigma=given.get('sigma', 0.1),
      shaping=SHAPINGS[given.get('shaping', 'pair_wins')],
      chunk_size=chosen.chunk_size or None,
      mesh=meta_mesh(chosen),
    )

  if replay.probability:
    return metarl.evolution_with_replay(task, rule, evolve, num_pairs, replay)
  return evolve(metarl.final_return(task, rule))


def _meta_gradients(
  chosen: MetaTrainOptions,
  rule: metarl.UpdateRule,
  task: metarl.MetaTask,
  replay: metarl.Replay,
  rate: optax.Schedule,
  given: Mapping[str, Any],
) -> Any:
  numbers = metarl.MetaGradients(
    num_agents=given.get(*_POPULATIONS['meta_gradients']),
    num_updates=given.get('num_truncated', 5),
  )
  optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(rate))

  def improve(task):
    return metarl.meta_gradients(
      task,
      rule,
      optimizer,
      numbers,
      chunk_size=chosen.chunk_size or None,
      mesh=meta_mesh(chosen),
    )

  if replay.probability:
    return metarl.meta_gradients_with_replay(task, rule, improve, replay)
  return improve(task)
