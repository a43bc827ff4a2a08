"""Trains agents with several seeds, and shows what they have learned."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ttc import agents, envs
from ttc.drivers import (
  agent_options,
  devices,
  options,
  processes,
  training_files,
)
from ttc.drivers.agent_options import AgentOptions
from ttc.drivers.environments import make_environment
from ttc.drivers.seed_training import Length, evaluations, train_seeds
from ttc.io import files
from ttc.io.learning_curves import save_learning_curves
from ttc.io.paths import as_path


def train_agents(config: Mapping[str, Any], workdir: files.Path) -> None:
  """Trains from the last checkpoint on, evaluating on the way.

  Writes config.json, metrics.jsonl (a line an update, means over the episodes
  that ended in it, of each seed), evaluation.jsonl (a line a checkpoint),
  checkpoints, and at the end `policy-<seed>.npz` of each seed, for
  `agents.load_policy`, curves.png, episode.gif and episode.png. After a kill it
  goes on from the last checkpoint and ends with the same parameters, bit for
  bit.

  Args:
    config: see `AgentOptions`.
    workdir: of the run.

  Raises:
    ValueError: for a value that means nothing; if the workdir holds another run
      or is in use; if a loss is no number any more.
    OSError: if a file cannot be written.
    command.Stopped: on SIGTERM, when a checkpoint is written.
  """
  chosen = options.parse(AgentOptions, config)
  env = make_environment(chosen.environment)
  learner = agent_options.make_learner(chosen, env)
  workdir = as_path(workdir)
  with training_files.hold(dataclasses.asdict(chosen), workdir):
    params = devices.fetch(_train(chosen, env, learner, workdir))
    if processes.is_first():
      _save(chosen, params, workdir)
      _show(chosen, env, learner, params, workdir)


def _train(chosen, env, learner, workdir):
  """Params of all seeds; goes on from the last checkpoint."""
  state = train_seeds(
    learner,
    lambda state, done: _evaluate(
      chosen, env, learner, learner.params(state), done
    ),
    Length(
      chosen.seed,
      chosen.num_seeds,
      agent_options.num_updates(chosen),
      chosen.checkpoint_every,
    ),
    workdir,
    devices.all_devices('num_envs', chosen.num_envs),
  )
  return learner.params(state)


def _evaluate(chosen, env, learner, params, done):
  """Mean return, length and last `info` of whole episodes, of each seed.

  Actors draw; values are followed greedily.
  """
  key = jax.random.fold_in(jax.random.key(chosen.seed), done)
  play = jax.vmap(
    lambda params, key: agents.evaluate(
      env,
      learner.policy,
      params,
      key,
      chosen.eval_episodes,
      chosen.max_episode_steps,
      greedy=chosen.algorithm not in agent_options.PPO_NAMES,
    )
  )(params, jax.random.split(key, chosen.num_seeds))
  mean = lambda x: x.astype(float).mean(axis=tuple(range(1, x.ndim)))
  return {
    'return': mean(play.returns),
    'length': mean(play.lengths),
    **{name: mean(x) for name, x in play.info.items()},
  }


def _save(chosen, params, workdir):
  """A file for each seed."""
  value_based = chosen.algorithm not in agent_options.PPO_NAMES
  for seed in range(chosen.num_seeds):
    agents.save_policy(
      workdir / f'policy-{seed}.npz',
      'values' if value_based else 'actor',
      agent_options.architecture(chosen),
      jax.tree.map(lambda x, seed=seed: np.asarray(x[seed]), params),
    )


def _show(chosen, env, learner, params, workdir):
  """Curves over training, and an episode of the first seed."""
  reached = evaluations(workdir)
  save_learning_curves(
    workdir / 'curves.png',
    {chosen.algorithm: (reached['steps'], reached['return'])},
    title=chosen.environment,
  )
  states = agents.trajectory(
    env,
    learner.policy,
    jax.tree.map(lambda x: x[0], params),
    jax.random.key(chosen.seed),
    chosen.max_episode_steps,
    greedy=chosen.algorithm not in agent_options.PPO_NAMES,
  )
  frames = [envs.render(env.draw(s, env.default_params)) for s in states]
  with files.writing(workdir / 'episode.gif') as file:
    envs.save_gif(frames, file)
  chosen_frames = np.linspace(0, len(frames) - 1, min(12, len(frames)))
  with files.writing(workdir / 'episode.png') as file:
    envs.save_strip([frames[round(i)] for i in chosen_frames], file)
  print(f'{workdir}: curves.png, episode.gif, episode.png, policy-0.npz')
