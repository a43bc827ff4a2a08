"""scripts/meta_rl.py as a user runs it, and kills it."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from ttc import agents, envs
from ttc.drivers import meta_rl_options, options
from ttc.drivers.meta_rl import meta_rl
from ttc.drivers.meta_rl_options import MetaRLOptions
from ttc.io.arrays import read_arrays

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = {
  'environment': 'point_robot',
  'tasks': 'point_robot_tasks(radius=0.3, max_steps=4)',
  'num_train_tasks': 6,
  'num_test_tasks': 2,
  'num_episodes': 2,
  'max_episode_steps': 4,
  'num_seeds': 2,
  'num_updates': 4,
  'checkpoint_every': 2,
  'learning_rate': 1e-3,
  'discount': 0.9,
  'num_epochs': 1,
  'width': 4,
}
PPO = {'num_envs': 4, 'num_steps': 8, 'num_minibatches': 2}
OWN = {
  'rl2': {'memory_width': 4, **PPO},
  'ppo': PPO,
  'maml': {'num_tasks': 2, 'num_rollouts': 2, 'learn_rates': True},
}


def config_of(kind, **changed):
  return {**TINY, 'learner': kind, **OWN[kind], **changed}


def lines_of(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
  'learner', ['rl2', pytest.param('maml', marks=pytest.mark.slow)]
)
def test_a_run_leaves_curves_paths_and_what_was_learned(learner, tmp_path):
  pytest.importorskip('matplotlib')
  meta_rl(config_of(learner), tmp_path)
  assert len(lines_of(tmp_path / 'metrics.jsonl')) == 4
  evaluation = lines_of(tmp_path / 'evaluation.jsonl')
  assert np.shape([line['by_episode'] for line in evaluation]) == (2, 2, 2)
  for line in evaluation:  # four steps, none further than 0.7 from the goal
    assert -2.8 < np.min(line['by_episode']) <= np.max(line['by_episode']) < 0
  for name in ('curves.png', 'paths.png'):
    assert (tmp_path / name).stat().st_size > 1000
  if learner == 'maml':
    saved = read_arrays(tmp_path / 'meta-1.npz')
    assert set(saved) == {'params', 'rates'}
  else:
    trial = envs.meta_episodes(envs.point_robot(), 2)
    policy, _ = agents.load_policy(tmp_path / 'policy-1.npz', trial)
    assert policy.memory_width == 4
  with pytest.raises(ValueError, match='another config'):
    meta_rl(config_of(learner, width=5), tmp_path)


@pytest.mark.parametrize(
  ('learner', 'changed', 'says'),
  [
    ('rl2', {'learner': 'pearl'}, "config.learner='pearl' must be one of rl2"),
    (
      'rl2',
      {'environment': 'robot'},
      "environment 'robot' is not known; there",
    ),
    (
      'rl2',
      {'tasks': "point_robot_tasks(family='mazes')"},
      "family='mazes', expected one of goals, velocities, dynamics",
    ),
    ('rl2', {'tasks': 'point_robot_tasks(radius=3.0)'}, 'radius=3.0, expec'),
    ('rl2', {'tasks': 'bandit_tasks'}, "'bandit_tasks' are no levels of 'poi"),
    ('rl2', {'tasks': ''}, "config.tasks='' must be"),
    (
      'rl2',
      {'num_test_tasks': 7},
      'config.num_test_tasks=7 must be at most config.num_train_tasks=6',
    ),
    ('rl2', {'num_test_tasks': 0}, 'config.num_test_tasks=0 must be'),
    ('rl2', {'rate': 0.1}, 'config.rate is no option of rl2; its own are mem'),
    ('ppo', {'memory_width': 4}, 'config.memory_width is no option of ppo'),
    ('maml', {'num_envs': 4}, 'config.num_envs is no option of maml'),
    ('maml', {'num_rollouts': 1}, 'config.num_rollouts=1 must be'),
    ('rl2', {'num_minibatches': 3}, 'num_minibatches=3 does not divide'),
    ('rl2', {'num_episodes': 0}, 'config.num_episodes=0 must be'),
  ],
)
def test_bad_input_is_refused_in_a_line(learner, changed, says, tmp_path):
  with pytest.raises(ValueError, match=says) as caught:
    meta_rl(config_of(learner, **changed), tmp_path / 'run')
  assert '\n' not in str(caught.value)
  assert not (tmp_path / 'run').exists()


def test_test_tasks_are_not_those_of_training():
  chosen = options.parse(MetaRLOptions, config_of('rl2'))
  world = meta_rl_options.make_world_of(chosen)
  test = meta_rl_options.test_tasks(chosen, world)
  keys = jax.random.split(jax.random.key(0), 100)
  train = np.unique(jax.jit(jax.vmap(world.train.sample))(keys).angle)
  assert len(train) == 6 and len(np.unique(test.angle)) == 2
  assert not np.isin(test.angle, train).any()


@pytest.mark.parametrize(
  'path', sorted((ROOT / 'configs').glob('meta_rl_*.py'))
)
def test_every_config_makes_a_learner(path):
  values: dict = {}
  exec(path.read_text(), values)
  for learner in values['LEARNERS']:
    config = values['get_config'](learner).to_dict()
    chosen = options.parse(MetaRLOptions, config)
    world = meta_rl_options.make_world_of(chosen)
    meta_rl_options.make_trained(chosen, world)
  assert path.name in values['__doc__'] and 'econds' in values['__doc__']


@pytest.mark.slow
@pytest.mark.parametrize('learner', ['rl2', 'maml'])
def test_killed_anywhere_it_ends_the_same(learner, tmp_path):
  config = config_of(learner, num_updates=200)
  code = (
    'import json, sys\n'
    'from ttc.drivers.meta_rl import meta_rl\n'
    'meta_rl(json.loads(sys.argv[1]), sys.argv[2])\n'
  )
  env = {**os.environ, 'PYTHONPATH': str(ROOT)}
  command = [sys.executable, '-c', code, json.dumps(config)]
  run = lambda name: subprocess.Popen(
    [*command, str(tmp_path / name)],
    env=env,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  assert run('whole').wait() == 0
  metrics, kills = tmp_path / 'cut' / 'metrics.jsonl', 0
  for delay in (0.0, 0.2, 0.5):
    process = run('cut')
    size = metrics.stat().st_size if metrics.exists() else 0
    while process.poll() is None and not (
      metrics.exists() and metrics.stat().st_size > size
    ):
      time.sleep(0.01)
    time.sleep(delay)
    if process.poll() is None:
      process.send_signal(signal.SIGKILL)
      kills += 1
    process.wait()
  assert kills >= 2
  assert run('cut').wait() == 0
  kind = 'meta' if learner == 'maml' else 'policy'
  for name in ('metrics.jsonl', 'evaluation.jsonl', f'{kind}-1.npz'):
    whole, cut = (tmp_path / run / name for run in ('whole', 'cut'))
    assert whole.read_bytes() == cut.read_bytes(), name
