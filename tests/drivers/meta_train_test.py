"""Meta-training, its test and its pictures, as scripts run them."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ttc import metarl
from ttc.drivers.analyse_objective import analyse_objective
from ttc.drivers.meta_test import meta_test, normalized
from ttc.drivers.meta_train import meta_train

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIFE = {
  'agent': 'table',
  'num_envs': 2,
  'num_steps': 1,
  'learning_rate': 1.0,
  'eval_episodes': 4,
  'max_episode_steps': 1,
}
TINY = {
  **LIFE,
  'rule': 'ta_lpg',
  'rule_width': 4,
  'num_predictions': 2,
  'environment': 'bandit(num_arms=3)',
  'levels': 'bandit_tasks(num_arms=3)',
  'low': 1,
  'high': 3,
  'num_updates': 6,
  'checkpoint_every': 2,
  'num_pairs': 2,
}
TEST = {
  **LIFE,
  'rules': ('a2c', 'ppo'),
  'environments': (
    'bandit(num_arms=3)',
    'bandit(num_arms=4) on bandit_tasks(num_arms=4)',
  ),
  'horizons': (2, 3),
  'num_seeds': 3,
}


def lines_of(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_rule_is_learned_tested_and_drawn(tmp_path):
  pytest.importorskip('matplotlib')
  meta_train(TINY, tmp_path / 'train')
  rows = lines_of(tmp_path / 'train' / 'metrics.jsonl')
  assert len(rows) == 6
  assert all(np.isfinite(row['fitness']) for row in rows)
  path = str(tmp_path / 'train' / 'rule.npz')
  assert metarl.load_rule(path).about['num_updates'] == 6
  config = {
    **TEST,
    'rules': (path, 'a2c'),
    'environments': ('bandit(num_arms=3)',),
    'horizons': (2,),
  }
  table = meta_test(config, tmp_path / 'test')
  assert 'Interquartile mean' in table
  assert 'Probability of improvement' in table
  assert table == (tmp_path / 'test' / 'results.md').read_text().rstrip()
  returns = json.loads((tmp_path / 'test' / 'returns.json').read_text())
  assert np.shape(returns['returns'][path]) == (1, 1, 3)
  analyse_objective({**config, 'rules': (path, 'dpo')}, tmp_path / 'pictures')
  for name in (
    'train/curve.png',
    'test/horizons.png',
    'pictures/targets-rule.png',
    'pictures/drift-dpo.png',
    'pictures/lives.png',
  ):
    assert (tmp_path / name).stat().st_size > 1000


@pytest.mark.parametrize(
  ('changed', 'says'),
  [
    ({'rule': 'ppo'}, r"config.rule='ppo' must be one of lpg"),
    ({'rule': 'lpo'}, 'config.num_predictions is no option of lpo'),
    ({'low': 5}, 'config.low=5 must be at most config.high=3'),
    ({'levels': 'bandit_tasks(num_arms=4)'}, r'are no levels of .bandit'),
    ({'levels': 'maze'}, r"levels 'maze' is not known; there are bandit"),
    ({'num_agents': 4}, 'config.num_agents is no option of evolution'),
    ({'replay_capacity': 4}, 'config.replay_probability must be above 0'),
    ({'chunk_size': 3}, 'num_pairs=2 is no multiple of 1 devices times chunk'),
    ({'num_minibatches': 3}, 'num_minibatches=3 does not divide'),
  ],
)
def test_bad_meta_training_is_refused(changed, says, tmp_path):
  with pytest.raises(ValueError, match=says):
    meta_train({**TINY, **changed}, tmp_path)


@pytest.mark.parametrize(
  ('changed', 'says'),
  [
    ({'rules': ('best',)}, r"config.rules: 'best' is not known; there are a2c"),
    ({'rules': ('lpg',)}, "'lpg' is not known"),
    ({'environments': ('maze',)}, "environment 'maze' is not known"),
    ({'environments': ('catch on bandit_tasks',)}, 'are no levels of'),
    ({'horizons': (0,)}, 'config.horizons='),
    ({'num_seeds': 1}, 'config.num_seeds=1 must be a whole number from 2'),
  ],
)
def test_bad_meta_tests_are_refused(changed, says, tmp_path):
  with pytest.raises(ValueError, match=says):
    meta_test({**TEST, **changed}, tmp_path)


def test_scores_are_between_random_play_and_the_best():
  returns = {
    'random': np.full((2, 2, 3), 1.0),
    'a': np.broadcast_to(np.array([[2.0], [3.0]]), (2, 2, 3)),
    'b': np.full((2, 2, 3), 1.0),
  }
  scores = normalized(returns)
  np.testing.assert_allclose(scores['a'][:, :, 0], [[0.5, 1.0], [0.5, 1.0]])
  np.testing.assert_allclose(scores['b'], 0.0)


@pytest.mark.slow
@pytest.mark.parametrize('method', ['evolution', 'meta_gradients'])
def test_killed_and_resumed_is_uninterrupted(method, tmp_path):
  own = {'num_agents': 4, 'num_truncated': 1, 'num_pairs': None}
  changed = own if method == 'meta_gradients' else {}
  config = {**TINY, **changed, 'meta_optimizer': method, 'num_updates': 40}
  config |= {'replay_probability': 0.5, 'replay_capacity': 8}
  config = {name: x for name, x in config.items() if x is not None}
  meta_train(config, tmp_path / 'whole')
  code = (
    'import json, sys\n'
    'from ttc.drivers.meta_train import meta_train\n'
    'meta_train(json.loads(sys.argv[1]), sys.argv[2])\n'
  )
  env = {**os.environ, 'PYTHONPATH': str(ROOT)}
  command = [sys.executable, '-c', code, json.dumps(config)]
  kills = 0
  for _ in range(20):
    process = subprocess.Popen([*command, str(tmp_path / 'cut')], env=env)
    steps = tmp_path / 'cut' / 'metrics.jsonl'
    before = len(lines_of(steps)) if steps.exists() else 0
    while process.poll() is None:
      time.sleep(0.05)
      if steps.exists() and len(lines_of(steps)) > before + 9 and kills < 3:
        process.send_signal(signal.SIGKILL)
        kills += 1
        process.wait()
    if process.returncode == 0:
      break
  assert kills > 0
  whole, cut = (
    metarl.load_rule(tmp_path / name / 'rule.npz') for name in ('whole', 'cut')
  )
  for name, leaf in enumerate_leaves(whole.params):
    np.testing.assert_array_equal(
      leaf, dict(enumerate_leaves(cut.params))[name]
    )


def enumerate_leaves(tree):
  import jax

  return [
    (jax.tree_util.keystr(path), leaf)
    for path, leaf in jax.tree.leaves_with_path(tree)
  ]
