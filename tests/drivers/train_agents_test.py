"""scripts/train_agents.py as a user runs it, and kills it."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import pytest

from ttc import agents
from ttc.drivers import agent_options, options
from ttc.drivers.agent_options import AgentOptions
from ttc.drivers.environments import make_environment
from ttc.drivers.train_agents import train_agents

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = {
  'environment': 'switch_riddle(num_agents=3)',
  'algorithm': 'ippo',
  'total_steps': 192,
  'num_envs': 4,
  'num_steps': 8,
  'num_epochs': 1,
  'num_minibatches': 2,
  'learning_rate': 1e-3,
  'discount': 0.99,
  'width': 4,
  'memory_width': 0,
  'eval_episodes': 4,
  'max_episode_steps': 6,
  'num_seeds': 2,
  'checkpoint_every': 2,
}


def lines_of(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_leaves_curves_episodes_and_policies(tmp_path):
  pytest.importorskip('matplotlib')
  train_agents(TINY, tmp_path)
  metrics = lines_of(tmp_path / 'metrics.jsonl')
  assert [line['steps'] for line in metrics] == list(range(32, 193, 32))
  assert all(len(line['entropy']) == 2 for line in metrics)
  evaluation = lines_of(tmp_path / 'evaluation.jsonl')
  assert [line['steps'] for line in evaluation] == [64, 128, 192]
  assert all(-1 <= x <= 1 for line in evaluation for x in line['return'])
  for name in ('curves.png', 'episode.png', 'episode.gif'):
    assert (tmp_path / name).stat().st_size > 1000
  env = make_environment(TINY['environment'])
  policy, params = agents.load_policy(tmp_path / 'policy-1.npz', env)
  play = agents.evaluate(env, policy, params, jax.random.key(0), 3, 6)
  assert play.returns.shape == (3, 3)
  with pytest.raises(ValueError, match='another config'):
    train_agents({**TINY, 'width': 5}, tmp_path)


@pytest.mark.parametrize(
  ('changed', 'says'),
  [
    ({'environment': 'smaks'}, r"'smaks' is not known; there are .*riddle"),
    ({'environment': 'switch_riddle(n=3)'}, r"no argument 'n'; it has num_ag"),
    ({'environment': 'switch_riddle(2)'}, 'must be a name, or a call'),
    ({'environment': 'switch_riddle(num_agents=2)'}, r'num_agents=2.*>= 3'),
    ({'environment': '__import__("os").getcwd()'}, 'must be a name'),
    ({'algorithm': 'dqn'}, 'must be one of ippo'),
    ({'capacity': 5}, 'config.capacity is no option of ippo'),
    ({'num_minibatches': 3}, 'num_minibatches=3 does not divide'),
    ({'memory_width': 4, 'num_minibatches': 8}, 'does not divide num_envs=4'),
    ({'widht': 4}, 'config.widht is not known'),
    ({'learning_rate': 0.0}, 'config.learning_rate=0.0'),
    ({'num_seeds': 0}, 'config.num_seeds=0'),
  ],
)
def test_bad_input_is_refused_in_a_line(tmp_path, changed, says):
  with pytest.raises(ValueError, match=says) as caught:
    train_agents({**TINY, **changed}, tmp_path / 'run')
  assert '\n' not in str(caught.value)
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('path', sorted((ROOT / 'configs').glob('agents_*.py')))
def test_every_config_makes_a_learner(path):
  values: dict = {}
  exec(path.read_text(), values)
  config = values['get_config']().to_dict()
  chosen = options.parse(AgentOptions, config)
  env = make_environment(chosen.environment)
  agent_options.make_learner(chosen, env)
  assert path.name in values['__doc__'] and 'seconds' in values['__doc__']


@pytest.mark.slow
def test_killed_anywhere_it_ends_the_same(tmp_path):
  command = [sys.executable, str(ROOT / 'scripts' / 'train_agents.py')]
  command += [f'--config={ROOT / "configs" / "agents_switch_riddle.py"}']
  tiny = {
    'total_steps': 12_800, 'num_envs': 8, 'num_steps': 16, 'num_epochs': 1,
    'width': 4, 'memory_width': 4, 'checkpoint_every': 5, 'eval_episodes': 4,
    'num_seeds': 2,
  }  # fmt: skip
  command += [f'--config.{name}={value}' for name, value in tiny.items()]
  paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
  env = {**os.environ, 'PYTHONPATH': paths}
  start = lambda name: subprocess.Popen(
    [*command, f'--workdir={tmp_path / name}'],
    env=env,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  assert start('whole').wait() == 0
  kills = 0
  for delay in (0.0, 0.3, 0.7, 1.1, 1.6):
    process = start('killed')
    metrics = tmp_path / 'killed' / 'metrics.jsonl'
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
  assert kills >= 3
  assert start('killed').wait() == 0
  for name in ('metrics.jsonl', 'evaluation.jsonl', 'policy-1.npz'):
    whole, killed = (tmp_path / run / name for run in ('whole', 'killed'))
    assert whole.read_bytes() == killed.read_bytes(), name
