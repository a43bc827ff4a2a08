"""What a training of agents may choose, and the learner that it makes."""

import dataclasses
from typing import Any, Literal

import optax

from ttc import agents, envs
from ttc.drivers import options
from ttc.drivers.options import option

_whole, _real = options.whole, options.real
_positive = options.real(0.0, 10.0, above=True)
_share = options.real(0.0, 1.0)

PPO_NAMES, Q_NAMES = ('ippo', 'mappo'), ('iql', 'vdn', 'qmix')
ALGORITHMS = (*PPO_NAMES, *Q_NAMES, 'pqn')


@dataclasses.dataclass(frozen=True)
class AgentOptions:
  """Every config says the first part; of the second what its algorithm has.

  Attributes:
    seed: of the first seed; the others follow.
    num_seeds: trained side by side.
    environment: a name, or a call: `smax(scenario='3m')`.
    algorithm: of the agents.
    total_steps: of environments, for each seed.
    num_envs: side by side.
    num_steps: of a rollout.
    num_epochs: passes over a rollout, or batches of replay.
    learning_rate: of the first step.
    anneal: lower it to 0, linearly.
    discount: gamma.
    width: of the dense layers.
    num_layers: dense ones.
    memory_width: of a GRU behind them; 0 for none.
    activation: of the dense layers.
    shared: one set of parameters for all agents.
    agent_ids: append to observations which agent it is.
    checkpoint_every: updates.
    eval_episodes: played after each checkpoint.
    max_episode_steps: after which they are cut.
    layer_norm: normalise the dense layers.
    channels: of a convolution that images go through first; 0 for none.
    num_minibatches: of a pass (ippo, mappo, pqn).
    trace: lambda (ippo, mappo, pqn).
    clip: epsilon of the ratio (ippo, mappo).
    entropy_weight: of the bonus (ippo, mappo).
    value_clip: how far a value may move in an update (ippo, mappo).
    capacity: sequences that are kept (iql, vdn, qmix).
    batch_size: sequences of a batch (iql, vdn, qmix).
    target_period: updates (iql, vdn, qmix).
    epsilon_end: of exploration, which begins with 1 (iql, vdn, qmix, pqn).
    epsilon_steps: of environments until then.
    shaping_steps: of environments until `info['shaped_reward']` has faded; 0
      for none.
  """

  environment: str = option(options.text())
  algorithm: str = option(options.one_of(ALGORITHMS))
  total_steps: int = option(_whole(1, 10**10))
  num_envs: int = option(_whole(1, 10**6))
  num_steps: int = option(_whole(1, 10**5))
  num_epochs: int = option(_whole(1, 1000))
  learning_rate: float = option(_positive)
  discount: float = option(_share)
  width: int = option(_whole(1, 10_000))
  memory_width: int = option(_whole(0, 10_000))
  eval_episodes: int = option(_whole(1, 10**5))
  max_episode_steps: int = option(_whole(1, 10**5))
  seed: int = option(options.seed(), 0)
  num_seeds: int = option(_whole(1, 1000), 3)
  anneal: bool = option(options.truth(), False)
  num_layers: int = option(_whole(1, 20), 2)
  activation: Literal['tanh', 'relu'] = option(
    options.one_of(('tanh', 'relu')), 'tanh'
  )
  shared: bool = option(options.truth(), True)
  agent_ids: bool = option(options.truth(), False)
  layer_norm: bool = option(options.truth(), False)
  channels: int = option(_whole(0, 10_000), 0)
  checkpoint_every: int = option(_whole(1, 10**6), 50)
  num_minibatches: int | None = option(_whole(1, 10**6), None)
  trace: float | None = option(_share, None)
  clip: float | None = option(_positive, None)
  entropy_weight: float | None = option(_real(0.0, 10.0), None)
  value_clip: float | None = option(_positive, None)
  capacity: int | None = option(_whole(1, 10**7), None)
  batch_size: int | None = option(_whole(1, 10**6), None)
  target_period: int | None = option(_whole(1, 10**6), None)
  epsilon_end: float | None = option(_share, None)
  epsilon_steps: int | None = option(_whole(1, 10**10), None)
  shaping_steps: int | None = option(_whole(0, 10**10), None)


_ALL = ('num_envs', 'num_steps', 'num_epochs', 'discount')
_PPO = ('num_minibatches', 'trace', 'clip', 'entropy_weight', 'value_clip')
_Q = ('capacity', 'batch_size', 'target_period')
_EPSILON = ('epsilon_end', 'epsilon_steps')
_OWN = {
  **dict.fromkeys(PPO_NAMES, _PPO),
  **dict.fromkeys(Q_NAMES, (*_Q, *_EPSILON)),
  'pqn': ('num_minibatches', 'trace', *_EPSILON),
}


def num_updates(chosen: AgentOptions) -> int:
  """Whole updates that make at least `total_steps`."""
  return -(-chosen.total_steps // (chosen.num_envs * chosen.num_steps))


def architecture(chosen: AgentOptions) -> agents.Architecture:
  """Of the networks."""
  return agents.Architecture(
    (chosen.width,) * chosen.num_layers,
    chosen.memory_width,
    chosen.activation,
    chosen.shared,
    chosen.agent_ids,
    chosen.layer_norm,
    chosen.channels,
  )


def make_learner(chosen: AgentOptions, env: envs.Environment) -> agents.Learner:
  """The learner of one seed.

  Raises:
    ValueError: for an option that the algorithm has not, and for numbers that
      do not go together.
  """
  name = chosen.algorithm
  own = _OWN[name]
  for other in {x for names in _OWN.values() for x in names} - set(own):
    if getattr(chosen, other) is not None:
      raise ValueError(
        f'config.{other} is no option of {name}; its own are {", ".join(own)}'
      )
  numbers: dict[str, Any] = {
    field: getattr(chosen, field)
    for field in (*_ALL, *own)
    if getattr(chosen, field) is not None and field not in _EPSILON
  }
  numbers['learning_rate'] = learning_rate(chosen)
  if chosen.epsilon_steps:
    end = 0.05 if chosen.epsilon_end is None else chosen.epsilon_end
    numbers['epsilon'] = optax.linear_schedule(1.0, end, chosen.epsilon_steps)
  if chosen.shaping_steps:
    numbers['shaping'] = optax.linear_schedule(1.0, 0.0, chosen.shaping_steps)
  shape = architecture(chosen)
  if name in PPO_NAMES:
    return getattr(agents, name)(env, agents.PPO(**numbers), shape)
  if name == 'pqn':
    return agents.pqn(env, agents.PQN(**numbers), shape)
  return getattr(agents, name)(env, agents.QLearning(**numbers), shape)


def learning_rate(chosen: AgentOptions) -> float | optax.Schedule:
  """A number, or a schedule over gradient steps."""
  if not chosen.anneal:
    return chosen.learning_rate
  parts = 1 if chosen.algorithm in Q_NAMES else chosen.num_minibatches or 4
  steps = num_updates(chosen) * chosen.num_epochs * parts
  return optax.linear_schedule(chosen.learning_rate, 0.0, steps)
