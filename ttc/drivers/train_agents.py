"""Trains agents with several seeds, and shows what they have learned."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import tqdm
from jax.sharding import AxisType

from ttc import agents, envs, io
from ttc.drivers import agent_options, options, training_files
from ttc.drivers.agent_options import AgentOptions
from ttc.drivers.environments import make_environment
from ttc.io import files
from ttc.io.learning_curves import save_learning_curves


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
  """
  chosen = options.parse(AgentOptions, config)
  env = make_environment(chosen.environment)
  learner = agent_options.make_learner(chosen, env)
  workdir = pathlib.Path(workdir)
  with files.lock_directory(workdir):
    training_files.keep_config(dataclasses.asdict(chosen), workdir)
    params = _train(chosen, env, agents.over_seeds(learner), workdir)
    _save(chosen, params, workdir)
    _show(chosen, env, learner, params, workdir)


def _train(chosen, env, learner, workdir):
  """Params of all seeds; goes on from the last checkpoint."""
  keys = agents.seed_keys(chosen.seed, chosen.num_seeds)
  init = jax.jit(learner.init)
  checkpoints = io.open_checkpoints(workdir / 'checkpoints', max_to_keep=2)
  if checkpoints.latest_step() is None:
    state = init(keys)
  else:
    state = io.restore_checkpoint(checkpoints, jax.eval_shape(init, keys))
    print(f'resuming from update {int(state.updates.max())}')
  done, total = int(state.updates.max()), agent_options.num_updates(chosen)
  metrics_path = workdir / 'metrics.jsonl'
  evaluation_path = workdir / 'evaluation.jsonl'
  training_files.forget_after(metrics_path, done)
  training_files.forget_after(
    evaluation_path, -(-done // chosen.checkpoint_every)
  )
  evaluate = jax.jit(
    lambda params, done: _evaluate(chosen, env, learner, params, done)
  )
  steps = lambda updates: updates * learner.steps_per_update
  with tqdm.tqdm(
    total=steps(total), initial=steps(done), unit='step', unit_scale=True
  ) as bar:
    reports = agents.train(
      learner, state, total, chosen.checkpoint_every, _mesh(chosen)
    )
    for state, metrics in reports:
      metrics = {name: np.asarray(x) for name, x in metrics.items()}
      _check_finite(metrics, done)
      _write_metrics(metrics_path, metrics, done, learner.steps_per_update)
      done = int(state.updates.max())
      played = jax.device_get(evaluate(learner.params(state), done))
      line = {
        'steps': steps(done),
        **{k: x.tolist() for k, x in played.items()},
      }
      files.append_lines(evaluation_path, [files.to_json(line)])
      io.save_checkpoint(checkpoints, done, state)
      bar.update(steps(done) - bar.n)
      bar.set_postfix({'return': f'{played["return"].mean():.3g}'})
  checkpoints.close()
  return learner.params(state)


def _mesh(chosen):
  """All devices, if there are several and they share the environments."""
  devices = len(jax.devices())
  if devices == 1:
    return None
  if chosen.num_envs % devices:
    raise ValueError(
      f'config.num_envs={chosen.num_envs} is not a multiple of the {devices} '
      'devices'
    )
  return jax.make_mesh((devices,), ('data',), axis_types=(AxisType.Auto,))


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


def _write_metrics(path, metrics, done, steps_per_update):
  """Appends a line for each update; NaN where no episode ended."""
  rows = []
  for row in range(len(metrics['reward'])):
    steps = (done + row + 1) * steps_per_update
    line = {name: x[row].tolist() for name, x in metrics.items()}
    rows.append(files.to_json({'steps': steps, **line}))
  files.append_lines(path, rows)


def _check_finite(metrics, done):
  """Raises ValueError at the first update whose loss is no number."""
  for name in ('policy_loss', 'value_loss', 'td_loss'):
    wrong = ~np.isfinite(metrics.get(name, np.zeros((1, 1))))
    if wrong.any():
      row, seed = np.argwhere(wrong)[0]
      raise ValueError(
        f'{name} of update {done + row + 1} and seed {seed} is '
        f'{metrics[name][row, seed]}; a smaller config.learning_rate may help'
      )


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
  lines = [
    json.loads(line) for line in files.read_lines(workdir / 'evaluation.jsonl')
  ]
  returns = np.array([line['return'] for line in lines])
  save_learning_curves(
    workdir / 'curves.png',
    {chosen.algorithm: ([line['steps'] for line in lines], returns)},
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
  envs.save_gif(frames, workdir / 'episode.gif')
  chosen_frames = np.linspace(0, len(frames) - 1, min(12, len(frames)))
  envs.save_strip(
    [frames[round(i)] for i in chosen_frames], workdir / 'episode.png'
  )
  print(f'{workdir}: curves.png, episode.gif, episode.png, policy-0.npz')
