"""Update rules that are learned, and the agents that they make.

On the bandits of this bed an agent has twenty arms and lives for 10 to 100
updates of four pulls each: too few to try every arm twice in a short life,
enough to find the best one in a long life. So how long to explore depends on
how long life is, and there is nothing else to learn.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from ttc import agents, envs, metarl
from ttc.metarl import MetaTask, Shaping, UpdateRule
from ttc.types import Params

BANDITS = MetaTask(
  envs.bandit(20),
  envs.bandit_tasks(20, noise_std=0.3),
  low=10,
  high=100,
  agent=metarl.tabular_agent(4, 1, actor_rate=4.0, max_grad_norm=1e6),
  eval_episodes=256,
  max_episode_steps=1,
)


@functools.cache
def grid_worlds() -> MetaTask:
  """Side 4 to 6 with up to three objects; 8 x 20 steps an update."""
  return MetaTask(
    envs.grid_world('small', observations='index'),
    envs.grid_world_levels('small'),
    low=5,
    high=50,
    agent=metarl.tabular_agent(8, 20)._replace(
      architecture=agents.Architecture((), biases=False, table=6 * 6 * 2**3)
    ),
    eval_episodes=16,
    max_episode_steps=100,
  )


def small_rule(name: str) -> UpdateRule:
  """'lpg' or 'ta_lpg' of a width that two cores can evolve."""
  return metarl.make_rule(name, {'width': 16, 'num_predictions': 8})


def by_evolution(
  task: MetaTask,
  rule: UpdateRule,
  seed: int,
  num_generations: int,
  *,
  num_pairs: int = 64,
  sigma: float = 0.1,
  shaping: Shaping = metarl.z_scores,
  chunk_size: int | None = None,
) -> Params:
  """Meta-parameters from whole lives.

  Args:
    task: that lives are of.
    rule: that evolves.
    seed: of everything.
    num_generations: of `2 num_pairs` lives.
    num_pairs: of antithetic ones.
    sigma: of the noise.
    shaping: of fitness.
    chunk_size: pairs at a time.
  """
  strategy = metarl.evolution(
    metarl.final_return(task, rule),
    optax.adam(optax.exponential_decay(1e-2, 1, 0.999)),
    num_pairs,
    sigma=sigma,
    shaping=shaping,
    chunk_size=chunk_size,
  )
  return _learn(strategy, rule, seed, num_generations)


def by_meta_gradients(
  task: MetaTask,
  rule: UpdateRule,
  seed: int,
  num_updates: int,
  *,
  rate: float = 1e-3,
  num_agents: int = 512,
  chunk_size: int | None = None,
) -> Params:
  """Meta-parameters from gradients through five updates.

  Args:
    task: that lives are of.
    rule: that is improved.
    seed: of everything.
    num_updates: of the meta-parameters.
    rate: of Adam.
    num_agents: alive at a time.
    chunk_size: agents at a time.
  """
  method = metarl.meta_gradients(
    task,
    rule,
    optax.chain(optax.clip_by_global_norm(0.5), optax.adam(rate)),
    metarl.MetaGradients(num_agents),
    chunk_size=chunk_size,
  )
  return _learn(method, rule, seed, num_updates)


def _learn(method: Any, rule: UpdateRule, seed: int, num_updates: int):
  """Runs a meta-optimiser."""

  @jax.jit
  def run(key):
    rule_key, key = jax.random.split(key)
    start = method.init(rule.init(rule_key), key)
    step = lambda state, _: (method.update(state)[0], None)
    return jax.lax.scan(step, start, length=num_updates)[0].params

  return jax.device_get(run(agents.seed_keys(seed, 1)[0]))


def lived(
  task: MetaTask,
  rule: UpdateRule,
  meta: Params,
  horizon: int,
  seed: int,
  num_lives: int,
  *,
  told: int | None = None,
  best: Callable[[Any], Float[Array, '']] = lambda env_params: jnp.zeros(()),
) -> dict[str, np.ndarray]:
  """What became of agents; lives of two rules begin alike.

  Args:
    task: that lives are of; its horizons may be left.
    rule: that they are lived by.
    meta: its parameters.
    horizon: of all lives.
    seed: of levels, agents and play.
    num_lives: one on each level.
    told: the horizon that the rule is told; None for the true one.
    best: `env_params -> return` of the best policy.

  Returns:
    `return` and `gap` to the best, `[lives]`, and `entropy [lives, 3]` of the
    policy before the first, the middle and the last update.
  """
  task = task._replace(low=horizon, high=horizon)
  moments = jnp.array([0, (horizon - 1) // 2, horizon - 1])
  if told is not None:
    rule = _misled(rule, told)

  @jax.jit
  @jax.vmap
  def live(key):
    life = metarl.draw_life(task, key)
    end = metarl.outcome(task, rule, meta, life)
    return {
      'return': end.fitness,
      'gap': best(life.env_params) - end.fitness,
      'entropy': end.metrics['entropy'][moments],
    }

  keys = agents.seed_keys(seed, num_lives)
  return jax.device_get(live(keys))


def compare(
  task: MetaTask,
  seed: int,
  horizons: Sequence[int],
  num_lives: int,
  num_updates: int,
  *,
  num_pairs: int = 64,
  num_agents: int = 512,
  chunk_size: int | None = None,
  count_wins: bool = True,
  best: Callable[[Any], Float[Array, '']],
) -> dict[str, np.ndarray]:
  """Rules of one meta-seed, and how far their agents stay behind the best.

  Args:
    task: that rules are learned on.
    seed: of all of them.
    horizons: of the lives that they are compared by.
    num_lives: of each.
    num_updates: of each meta-optimiser.
    num_pairs: of evolution.
    num_agents: of meta-gradients.
    chunk_size: pairs and agents at a time.
    count_wins: whether 'pair_wins' is learned too.
    best: `env_params -> return` of the best policy.

  Returns:
    Mean gaps `[1, horizons]` of 'ta_lpg' and 'lpg' by evolution, 'pair_wins',
    TA-LPG by evolution that counts wins, 'truncated', TA-LPG by meta-gradients,
    and 'misled', the first one told the longest horizon for the shortest and
    so on; 'entropy' `[1, horizons, 3]` of the first one's agents.
  """
  lpg, ta_lpg = small_rule('lpg'), small_rule('ta_lpg')
  evolve = lambda rule, shaping=metarl.z_scores: by_evolution(
    task,
    rule,
    seed,
    num_updates,
    num_pairs=num_pairs,
    shaping=shaping,
    chunk_size=chunk_size,
  )
  learned = {
    'ta_lpg': (ta_lpg, evolve(ta_lpg)),
    'lpg': (lpg, evolve(lpg)),
    'truncated': (
      ta_lpg,
      by_meta_gradients(
        task,
        ta_lpg,
        seed,
        num_updates,
        num_agents=num_agents,
        chunk_size=chunk_size,
      ),
    ),
  }
  if count_wins:
    learned['pair_wins'] = ta_lpg, evolve(ta_lpg, metarl.pair_wins)

  def live(name, horizon, told=None):
    rule, meta = learned[name]
    return lived(
      task, rule, meta, horizon, 1000 + seed, num_lives, told=told, best=best
    )

  gap = lambda lives: np.array([[life['gap'].mean() for life in lives]])
  by_rule = {name: [live(name, N) for N in horizons] for name in learned}
  told = dict(zip(sorted(horizons), sorted(horizons)[::-1], strict=True))
  misled = [live('ta_lpg', N, told[N]) for N in horizons]
  entropy = [life['entropy'].mean(axis=0) for life in by_rule['ta_lpg']]
  return {
    **{name: gap(lives) for name, lives in by_rule.items()},
    'misled': gap(misled),
    'entropy': np.array([entropy]),
  }


def _misled(rule: UpdateRule, told: int) -> UpdateRule:
  """A rule that believes in another horizon; time passes as it does."""

  def believe(lifetime):
    n = lifetime.n * (told / lifetime.horizon)
    return metarl.Lifetime(n, told)

  return rule._replace(
    targets=lambda meta, memory, experience, lifetime, hyper: rule.targets(
      meta, memory, experience, believe(lifetime), hyper
    ),
    loss=lambda meta, outputs, batch, lifetime, hyper: rule.loss(
      meta, outputs, batch, believe(lifetime), hyper
    ),
  )
