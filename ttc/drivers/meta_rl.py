"""Trains agents over tasks, and shows what they do in tasks they never saw."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ttc import agents, envs
from ttc.agents.learner import env_keys
from ttc.drivers import meta_rl_options, options, training_files
from ttc.drivers.meta_rl_options import MetaRLOptions
from ttc.drivers.seed_training import Length, evaluations, train_seeds
from ttc.envs.point_robot import PointRobotParams, goal_of
from ttc.io import files
from ttc.io.arrays import write_arrays
from ttc.io.learning_curves import save_learning_curves
from ttc.io.path_plots import Paths, save_paths
from ttc.io.paths import as_path

NUM_PANELS = 8


def meta_rl(config: Mapping[str, Any], workdir: files.Path) -> None:
  """Trains from the last checkpoint on, and tests on the way.

  Writes config.json, metrics.jsonl (a line an update), evaluation.jsonl (a line
  a checkpoint: mean returns of test tasks, by episode and seed), checkpoints,
  and at the end a policy of each seed, `policy-<seed>.npz` for
  `agents.load_policy` or `meta-<seed>.npz` with the rates of MAML, curves.png
  and, of point robots, paths.png. After a kill it goes on from the last
  checkpoint and ends with the same parameters, bit for bit.

  Args:
    config: see `MetaRLOptions`.
    workdir: of the run.

  Raises:
    ValueError: for a value that means nothing; if the workdir holds another run
      or is in use; if a loss is no number any more.
    OSError: if a file cannot be written.
  """
  chosen = options.parse(MetaRLOptions, config)
  world = meta_rl_options.make_world_of(chosen)
  trained = meta_rl_options.make_trained(chosen, world)
  length = Length(
    chosen.seed, chosen.num_seeds, chosen.num_updates, chosen.checkpoint_every
  )
  tasks = meta_rl_options.test_tasks(chosen, world)
  play = lambda state, done: _play(chosen, trained, tasks, state, done)
  workdir = as_path(workdir)
  with training_files.hold(dataclasses.asdict(chosen), workdir):
    state = train_seeds(
      trained.learner,
      lambda state, done: _figures(*play(state, done)),
      length,
      workdir,
      trained.mesh,
    )
    _save(chosen, trained, state, workdir)
    _draw_curves(chosen, tasks, workdir)
    drawn = ['curves.png']
    if isinstance(tasks, PointRobotParams):
      _, trials = jax.jit(play)(state, chosen.num_updates)
      first = jax.device_get(jax.tree.map(lambda x: x[0], trials))
      _draw_paths(chosen, tasks, first, workdir)
      drawn.append('paths.png')
    print(f'{workdir}: {", ".join(drawn)}')


def _play(chosen, trained, tasks, state, done):
  """Returns `[S, K, N]` and trials of all seeds on the test tasks."""
  key = jax.random.fold_in(jax.random.key(chosen.seed), done)
  keys = env_keys(key, chosen.num_seeds)
  one = lambda state, key: trained.play(state, key, tasks)
  return jax.vmap(one)(state, keys)


def _figures(returns, trials):
  """Means over tasks, by episode `[S, N]`, and of the last one `[S]`."""
  del trials
  by_episode = returns.mean(axis=1)
  return {'return': by_episode[:, -1], 'by_episode': by_episode}


def _save(chosen, trained, state, workdir):
  """A file for each seed."""
  for seed in range(chosen.num_seeds):
    own = lambda tree, seed=seed: jax.tree.map(
      lambda x: np.asarray(x[seed]), tree
    )
    if chosen.learner == 'maml':
      meta = own(state.meta)._asdict()
      write_arrays(workdir / f'meta-{seed}.npz', meta)
    else:
      agents.save_policy(
        workdir / f'policy-{seed}.npz',
        'actor',
        meta_rl_options.architecture(chosen),
        own(trained.learner.params(state)),
      )


def _draw_curves(chosen, tasks, workdir):
  """Returns of test tasks after so many steps, a curve an episode."""
  reached = evaluations(workdir)
  returns = reached['by_episode']
  episodes = sorted({0, chosen.num_episodes // 2, chosen.num_episodes - 1})
  curves = {
    f'{_word(chosen)} {i + 1}': (reached['steps'], returns[:, :, i])
    for i in episodes
  }
  if isinstance(tasks, PointRobotParams):
    best = float(jax.vmap(envs.point_robot_optimum)(tasks).mean())
    steps = reached['steps']
    curves['best possible'] = (steps, np.full((len(steps), 1), best))
  save_learning_curves(
    workdir / 'curves.png',
    curves,
    title=f'{chosen.learner}: {chosen.tasks}',
    label='return of an episode of a test task',
  )


def _draw_paths(chosen, tasks, trials, workdir):
  """Where the robot of the first seed went in the first test tasks."""
  panels = []
  for i in range(min(NUM_PANELS, chosen.num_test_tasks)):
    task = jax.device_get(jax.tree.map(lambda x, i=i: x[i], tasks))
    goal = None if task.by_velocity else np.asarray(goal_of(task))
    rewards = [
      trials.reward[i][trials.episode[i] == n].sum()
      for n in range(chosen.num_episodes)
    ]
    panels.append(
      Paths(
        trials.obs[i, :, 0],
        trials.episode[i],
        goal,
        ', '.join(f'{x:.1f}' for x in rewards),
      )
    )
  save_paths(
    workdir / 'paths.png',
    panels,
    chosen.num_episodes,
    title=f'{chosen.learner}: test tasks, returns by {_word(chosen)}',
    word=_word(chosen),
  )


def _word(chosen):
  """What is counted: rounds of MAML are several episodes and a step."""
  return 'round' if chosen.learner == 'maml' else 'episode'
