"""Where the time of a generation goes, and what it grows with.

A ladder of programs, each with one thing more than the one before, all of them
whole generations of the same evolution: what a thing costs is the difference of
two. What every part makes for the next one enters the fitness, so it is not
optimised away; metrics of training, which evolution does not read, are.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ttc import metarl
from ttc.agents import rollouts
from ttc.agents.actor_critic import actor_critic
from ttc.agents.learner import env_keys, start_envs
from ttc.drivers.timing import interleaved
from ttc.evaluation.tables import markdown_table
from ttc.metarl.evolution import FitnessFn
from ttc.metarl.inner_loop import networks_of
from ttc.metarl.meta_task import MetaTask
from ttc.metarl.rules.interface import UpdateRule

# Name of a rung, what it adds to the one before.
PARTS = (
  'evolution',
  'environment steps',
  'acting',
  'inner update',
  "the rule's network",
  'final evaluation',
)


def ladder(task: MetaTask, rule: UpdateRule) -> dict[str, FitnessFn]:
  """A fitness for each of `PARTS`: with it and with all parts before it.

  Lives have the longest horizon of the task.

  - evolution: a fitness that is a number of the parameters and the key.
  - environment steps: those of all rollouts, keys, resets and statistics
    included, with one and the same action.
  - acting: the actor with its first parameters, draws and probabilities.
  - inner update: the loss, its gradient and the optimiser; in the place of the
    rule's network stand numbers of the rollout.
  - the rule's network: so whole lives.
  - final evaluation: so `metarl.final_return`.

  Args:
    task: of which lives are drawn.
    rule: that says `(pi_hat, logits of y_hat)`.
  """

  def stand_in(meta, memory, experience, lifetime, hyper):
    del meta, lifetime, hyper
    rollout = experience.rollout
    return (rollout.reward, rollout.kept.further), memory

  return dict(
    zip(
      PARTS,
      (
        lambda meta, key: digest(meta) + jax.random.uniform(key),
        playing(task, rule, acting=False),
        playing(task, rule, acting=True),
        living(task, rule._replace(targets=stand_in)),
        living(task, rule),
        metarl.final_return(task, rule),
      ),
      strict=True,
    )
  )


def shares(
  task: MetaTask, rule: UpdateRule, num_pairs: int, repetitions: int
) -> dict[str, list[float]]:
  """Seconds of generations on each rung of the ladder, in turns.

  Args:
    task: as in `ladder`.
    rule: as in `ladder`.
    num_pairs: of the population, all at once.
    repetitions: timed generations of each.
  """
  engines = {}
  for name, fitness_fn in ladder(task, rule).items():
    es = metarl.evolution(
      fitness_fn, optax.adam(0.01), num_pairs, shaping=metarl.centered_ranks
    )
    state = es.init(rule.init(jax.random.key(0)), jax.random.key(1))
    engines[name] = generations(es.update, state)[0]
  return interleaved(engines, repetitions)


def generations(
  update: Callable[[Any], tuple[Any, jax.Array]], state: Any
) -> tuple[Callable[[], None], float, list[float]]:
  """A function that does the next generation.

  Args:
    update: `state -> (state, fitness)`.
    state: to begin with.

  Returns:
    The function, seconds to compile it, and the fitness of the first.
  """
  start = time.perf_counter()
  compiled = jax.jit(update).lower(state).compile()
  seconds = time.perf_counter() - start
  fitness = [float(x) for x in compiled(state)[1].ravel()]
  return next_generation(compiled, state), seconds, fitness


def next_generation(
  compiled: Callable[[Any], tuple[Any, jax.Array]], state: Any
) -> Callable[[], None]:
  """A function that goes on from where its last call ended."""
  kept = [state]

  def run():
    kept[0] = jax.block_until_ready(compiled(kept[0]))[0]

  return run


def markdown(results: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
  """Milliseconds and shares of parts, of several games."""
  rows = []
  for game, seconds in results.items():
    whole = seconds[PARTS[-1]]
    before = [0.0] * len(whole)
    for name in PARTS:
      now = seconds[name]
      cost = [a - b for a, b in zip(now, before, strict=True)]
      share = [a / b for a, b in zip(cost, whole, strict=True)]
      rows.append(
        [
          game,
          name,
          f'{1e3 * statistics.median(cost):.1f}',
          f'{100 * statistics.median(share):.0f} %',
          f'{1e3 * (min(now) - min(before)):.1f}',
        ]
      )
      before = now
  header = ['game', 'part', 'ms', 'share', 'ms, of the fastest']
  return '\n'.join(markdown_table(header, rows, num_left=2))


def digest(tree: Any) -> jax.Array:
  """A number that depends on all of a pytree, keys apart."""
  leaves = [
    x
    for x in jax.tree.leaves(tree)
    if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
  ]
  sums = (jnp.sum(x.astype(jnp.float32)) for x in leaves)
  return sum(sums, start=jnp.float32(0))


def living(task: MetaTask, rule: UpdateRule) -> FitnessFn:
  """Lives without an evaluation at the end; metrics are left out there too."""

  def fitness(meta, key):
    agent = metarl.learner(task.env, rule, meta, task.high, task.agent)
    state, _ = metarl.live(agent, key, task.high, task.high)
    return digest(state.params)

  return fitness


def playing(task: MetaTask, rule: UpdateRule, *, acting: bool) -> FitnessFn:
  """The rollouts of lives, without learning.

  Args:
    task: says how many.
    rule: says what the actor puts out.
    acting: by the actor; otherwise all actions are 0.
  """
  env, hyper = task.env, task.agent.hyper
  env_params = env.default_params
  nets = networks_of(env, rule, task.agent.architecture)

  def still(params, keys, states, now, legal, steps):
    del params, keys, states, legal, steps
    shape = now.obs.shape[:2]
    return jnp.zeros(shape, jnp.int32), now.memories, ()

  actor = actor_critic(
    env, nets['actor'], nets['critic'], lambda s, obs, p: obs, env_params
  ).behaviour
  plays = actor if acting else rollouts.Behaviour(still)
  collect = rollouts.collector(
    env, plays, hyper.num_envs, hyper.num_steps, env_params=env_params
  )

  def fitness(meta, key):
    actor_key, env_key, key = jax.random.split(key, 3)
    params = {'actor': nets['actor'].init(actor_key) if acting else {}}
    params['critic'] = {}
    memories = {
      name: net.initial_memory(hyper.num_envs, env.num_agents)
      for name, net in nets.items()
    }
    running = start_envs(env, env_params, env_key, hyper.num_envs, memories)

    def update(running, key):
      running, rollout, _ = collect(
        key, params, running, jnp.zeros((), jnp.float32)
      )
      said = (rollout.kept.log_prob, rollout.kept.further) if acting else ()
      return running, digest((rollout.reward, rollout.terminated, said))

    keys = env_keys(key, task.high)
    running, digests = jax.lax.scan(update, running, keys)
    return digest((meta, running, digests))

  return fitness
