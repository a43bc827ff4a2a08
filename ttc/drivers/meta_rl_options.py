"""What a training over tasks may choose, and the learner that it makes."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, PRNGKeyArray

from ttc import agents, envs, metarl
from ttc.drivers import options
from ttc.drivers.devices import all_devices
from ttc.drivers.meta_options import make_world
from ttc.drivers.options import option

_whole, _real = options.whole, options.real
_positive = options.real(0.0, 10.0, above=True)
_share = options.real(0.0, 1.0)

LEARNERS = ('rl2', 'ppo', 'maml')


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetaRLOptions:
  """Every config says the first part; of the second what its learner has.

  Attributes:
    learner: 'rl2'; 'ppo', the same without memory and trials, to compare with;
      or 'maml'.
    environment: a name, or a call.
    tasks: a call that makes a distribution of its params:
      `point_robot_tasks(family='goals')`.
    num_train_tasks: 0 for all that the distribution has.
    num_test_tasks: drawn besides these; played at every checkpoint.
    num_episodes: of a task; of MAML rounds, the first before any step.
    max_episode_steps: of one of them.
    seed: of the first seed; the others follow.
    num_seeds: trained side by side.
    num_updates: of the training.
    checkpoint_every: updates.
    learning_rate: of the first step.
    anneal: lower it to 0, linearly.
    discount: gamma.
    num_epochs: passes over what was played.
    width: of the dense layers.
    num_layers: dense ones.
    memory_width: of the GRU behind them (rl2).
    num_envs: side by side (rl2, ppo).
    num_steps: of a rollout (rl2, ppo).
    num_minibatches: of a pass (rl2, ppo).
    trace: lambda (rl2, ppo).
    entropy_weight: of the bonus (rl2, ppo).
    num_tasks: of an update (maml).
    num_rollouts: episodes of a task, before and after its step (maml).
    rate: of the inner step (maml).
    learn_rates: one for each layer's weights and biases (maml).
    first_order: leave second derivatives out (maml).
  """

  learner: str = option(options.one_of(LEARNERS))
  environment: str = option(options.text())
  tasks: str = option(options.text())
  num_train_tasks: int = option(_whole(0, 10**9), 0)
  num_test_tasks: int = option(_whole(1, 10**5))
  num_episodes: int = option(_whole(1, 1000))
  max_episode_steps: int = option(_whole(1, 10**5))
  seed: int = option(options.seed(), 0)
  num_seeds: int = option(_whole(1, 1000), 3)
  num_updates: int = option(_whole(1, 10**7))
  checkpoint_every: int = option(_whole(1, 10**6), 50)
  learning_rate: float = option(_positive)
  anneal: bool = option(options.truth(), False)
  discount: float = option(_share)
  num_epochs: int = option(_whole(1, 1000))
  width: int = option(_whole(1, 10_000), 64)
  num_layers: int = option(_whole(1, 20), 1)
  memory_width: int | None = option(_whole(1, 10_000), None)
  num_envs: int | None = option(_whole(1, 10**6), None)
  num_steps: int | None = option(_whole(1, 10**5), None)
  num_minibatches: int | None = option(_whole(1, 10**6), None)
  trace: float | None = option(_share, None)
  entropy_weight: float | None = option(_real(0.0, 10.0), None)
  num_tasks: int | None = option(_whole(1, 10**5), None)
  num_rollouts: int | None = option(_whole(2, 10**5), None)
  rate: float | None = option(_real(0.0, 1000.0), None)
  learn_rates: bool | None = option(options.truth(), None)
  first_order: bool | None = option(options.truth(), None)


_PPO = ('num_envs', 'num_steps', 'num_minibatches', 'trace', 'entropy_weight')
_OWN = {
  'rl2': ('memory_width', *_PPO),
  'ppo': _PPO,
  'maml': ('num_tasks', 'num_rollouts', 'rate', 'learn_rates', 'first_order'),
}


class World(NamedTuple):
  """An environment, its tasks, and those of them to train on."""

  env: envs.Environment
  tasks: envs.TaskDistribution
  train: envs.TaskDistribution


def make_world_of(chosen: MetaRLOptions) -> World:
  """Where a run takes place.

  Raises:
    ValueError: for what is not known or does not go together, options of other
      learners, and more test than training tasks.
  """
  _check_own(chosen)
  num_train, num_test = chosen.num_train_tasks, chosen.num_test_tasks
  if num_train and num_test > num_train:
    raise ValueError(
      f'config.num_test_tasks={num_test} must be at most '
      f'config.num_train_tasks={num_train}'
    )
  env, tasks = make_world(chosen.environment, chosen.tasks)
  assert tasks is not None  # their call is not empty
  train = tasks
  if num_train:
    key = _split_key(chosen)
    train, _ = envs.split_tasks(tasks, key, num_train, num_test)
  return World(env, tasks, train)


def test_tasks(chosen: MetaRLOptions, world: World) -> Any:
  """Tasks to be judged by, leaves `[K, ...]`; they follow those of training."""
  key, first = _split_key(chosen), chosen.num_train_tasks
  draw = lambda i: world.tasks.sample(jax.random.fold_in(key, first + i))
  return jax.jit(jax.vmap(draw))(jnp.arange(chosen.num_test_tasks))


def _split_key(chosen):
  """Of tasks; no seed's own."""
  return jax.random.fold_in(jax.random.key(chosen.seed), 2**31)


def architecture(chosen: MetaRLOptions) -> agents.Architecture:
  """Of the networks."""
  memory = chosen.memory_width or 64 if chosen.learner == 'rl2' else 0
  return agents.Architecture((chosen.width,) * chosen.num_layers, memory)


def ppo_numbers(chosen: MetaRLOptions) -> agents.PPO:
  """Of RL^2, and of PPO beside it."""
  numbers = agents.PPO(
    learning_rate=_learning_rate(chosen, chosen.num_minibatches or 4),
    discount=chosen.discount,
    num_epochs=chosen.num_epochs,
  )
  return numbers._replace(**_given(chosen, _PPO))


def maml_numbers(chosen: MetaRLOptions) -> metarl.PolicyMAML:
  """Of MAML."""
  given = _given(chosen, _OWN['maml'])
  given['num_episodes'] = given.pop('num_rollouts', 20)
  numbers = metarl.PolicyMAML(
    num_steps=chosen.max_episode_steps,
    learning_rate=_learning_rate(chosen, 1),
    discount=chosen.discount,
    num_epochs=chosen.num_epochs,
  )
  return numbers._replace(**given)


def _check_own(chosen):
  """Raises ValueError for an option that the learner has not."""
  own = _OWN[chosen.learner]
  for other in {x for names in _OWN.values() for x in names} - set(own):
    if getattr(chosen, other) is not None:
      raise ValueError(
        f'config.{other} is no option of {chosen.learner}; its own are '
        f'{", ".join(own)}'
      )


def _given(chosen, names):
  """Options that the config says, by name."""
  found = {name: getattr(chosen, name) for name in names}
  return {name: x for name, x in found.items() if x is not None}


def _learning_rate(chosen, parts):
  """A number, or a schedule over gradient steps."""
  if not chosen.anneal:
    return chosen.learning_rate
  steps = chosen.num_updates * chosen.num_epochs * parts
  return optax.linear_schedule(chosen.learning_rate, 0.0, steps)


class Trained(NamedTuple):
  """A learner, and what becomes of tasks by it.

  Attributes:
    learner: of one seed.
    mesh: that `agents.train` is given.
    play: `(state, key, tasks) -> (returns [K, N], trials)`, of one seed; of
      MAML returns are means of a round and trials its first episodes.
  """

  learner: agents.Learner
  mesh: Mesh | None
  play: Callable[[Any, PRNGKeyArray, Any], tuple[Array, metarl.Trial]]


def make_trained(chosen: MetaRLOptions, world: World) -> Trained:
  """The learner of one seed, and how it is tested.

  Raises:
    ValueError: for numbers that do not go together.
  """
  if chosen.learner == 'maml':
    return _maml(chosen, world)
  num, steps = chosen.num_episodes, chosen.max_episode_steps
  hyper, shape = ppo_numbers(chosen), architecture(chosen)
  mesh = all_devices('num_envs', hyper.num_envs)
  if chosen.learner == 'rl2':
    learner = metarl.rl2(world.env, world.train, num, hyper, shape)
    policy = learner.policy
  else:
    plain = envs.sample_tasks(world.env, world.train)
    learner = agents.ippo(plain, hyper, shape)
    policy = metarl.in_trials(learner.policy, world.env)

  def play(state, key, tasks):
    trials = metarl.play_trials(
      world.env, policy, learner.params(state), key, tasks, num, num * steps
    )
    return metarl.returns_by_episode(trials, num), trials

  return Trained(learner, mesh, play)


def _maml(chosen, world):
  numbers, shape = maml_numbers(chosen), architecture(chosen)
  mesh = all_devices('num_tasks', numbers.num_tasks)
  learner = metarl.maml_policy(
    world.env, world.train, numbers, shape, mesh=mesh
  )

  def play(state, key, tasks):
    num = chosen.num_episodes
    played = metarl.adapted_episodes(
      world.env, state.meta, key, tasks, num - 1, numbers, shape
    )
    return jnp.mean(played.returns, axis=-1), metarl.rounds_as_trials(played)

  return Trained(learner, None, play)
