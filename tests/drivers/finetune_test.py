"""scripts/finetune.py as a user runs it, and what it refuses."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import finetune_s3
from ttc import finetuning, models
from ttc.drivers import finetune as driver
from ttc.drivers import options
from ttc.drivers.finetune_options import FinetuneOptions
from ttc.drivers.finetune_problems import Drawn, Problems
from ttc.types import FinishReason, Generation, Prompt

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = {
  'pretrain_steps': 3,
  'task_length': 2,
  'num_updates': 4,
  'num_prompts': 4,
  'group_size': 2,
  'checkpoint_every': 2,
  'num_eval_items': 4,
  'num_eval_samples': 2,
}


def config(**changes):
  return {**finetune_s3.get_config('grpo').to_dict(), **TINY, **changes}


@pytest.fixture(autouse=True)
def one_base(monkeypatch, tmp_path_factory):
  """All runs begin with the same base, which is trained once."""
  real, base = driver.pretrained, tmp_path_factory.getbasetemp() / 'base'
  base.mkdir(exist_ok=True)

  def pretrained(*args):
    *named, cache = args
    if not cache.exists():
      cache.symlink_to(base, target_is_directory=True)
    return real(*named, cache)

  monkeypatch.setattr(driver, 'pretrained', pretrained)


def test_a_run_leaves_a_model_an_adapter_and_figures(tmp_path, capsys):
  driver.finetune(config(lora_rank=2, kl_weight=0.1), tmp_path)
  said = capsys.readouterr().out
  assert 'before: accuracy' in said and 'after: accuracy' in said
  assert 'sample' in said and 'update' in said  # shares of the time
  rows = [json.loads(x) for x in (tmp_path / 'metrics.jsonl').open()]
  assert [row['update'] for row in rows] == [1, 2, 3, 4]
  assert {'loss', 'reward', 'length', 'kl', 'alive'} <= set(rows[0])
  for name in ('reward.png', 'length.png', 'evaluation.json'):
    assert (tmp_path / name).stat().st_size > 0
  model = models.load(str(tmp_path / 'model'))
  saved = finetuning.load_peft(tmp_path / 'adapter')
  base = models.load(str(next((tmp_path / 'base').glob('*/0'))))
  merged = finetuning.merge_lora(base.params, saved.adapter, alpha=saved.alpha)
  leaves = map(jax.tree.leaves, (model.params, merged))
  for x, y in zip(*leaves, strict=True):
    np.testing.assert_allclose(x, y, atol=1e-6)
  with pytest.raises(ValueError, match='another config'):
    driver.finetune(config(lora_rank=3), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('objective', ['dpo', 'gdpo'])
def test_other_objectives_train_too(objective, tmp_path):
  chosen = {**finetune_s3.get_config(objective).to_dict(), **TINY}
  driver.finetune({**chosen, 'num_updates': 2, 'overlong_cache': 1}, tmp_path)
  rows = [json.loads(x) for x in (tmp_path / 'metrics.jsonl').open()]
  assert len(rows) == 2 and 0 <= rows[0]['length'] <= 3
  if objective == 'dpo' and rows[0]['alive']:  # begins at the reference
    assert rows[0]['loss'] == pytest.approx(np.log(2), rel=1e-5)


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'objective': 'dpo', 'kl_weight': 0.1}, 'config.kl_weight=0.1 must be 0'),
    ({'objective': 'gdpo'}, "config.objective='gdpo' takes several kinds"),
    ({'objective': 'dpo', 'dpo_beta': 0.0}, 'config.dpo_beta=0.0'),
    ({'objective': 'ppo'}, "config.objective='ppo' must be one of grpo"),
    ({'task': 'countdown', 'task_length': 900}, 'task_length=900 must be from'),
    ({'overlong_cache': 99}, 'overlong_cache=99 is longer than a response'),
    ({'group_size': 1}, 'config.group_size=1'),
    ({'num_micro_batches': 3}, 'config.num_micro_batches=3 does not divide'),
    ({'group_parts': 3}, 'config.group_parts=3 does not divide config.group'),
    (
      {'group_parts': 2, 'num_micro_batches': 16},
      'does not divide config.num_prompts=4 times config.group_parts=2',
    ),
    ({'objective': 'dpo', 'group_parts': 2}, 'config.group_parts=2 must be 1'),
    ({'zero': True}, 'config.zero=True needs config.remat=True'),
    (
      {'model_parallel': 2},
      'config.model_parallel=2 must divide the 1 devices',
    ),
    (
      {'model_parallel': 3},
      'config.model_parallel=3 must divide the 4 key and',
    ),
    ({'task': 'addition_2digit'}, "config.model='pretrained' needs one of"),
    ({'task': 'countdown', 'task_length': 1}, 'config.task_length=1'),
    ({'model': '/nowhere/x'}, '/nowhere/x: no such file'),
    ({'learning_rate': float('nan')}, 'config.learning_rate=nan'),
    ({'temperature': 0.0}, 'config.temperature=0.0'),
  ],
)
def test_refuses_in_one_line(changes, says, tmp_path):
  with pytest.raises((ValueError, FileNotFoundError), match=says) as error:
    driver.finetune(config(**changes), tmp_path)
  assert '\n' not in str(error.value)


def test_metrics_are_of_all_rounds_and_penalties_bring_nobody_to_life():
  """Four groups of which one is alive, twice; the others differ in length."""
  rewards = jnp.asarray([[0.0, 0], [0, 1], [0, 0], [1, 1]])
  lengths = jnp.asarray([[1, 8], [2, 2], [8, 8], [1, 1]])
  zeros = jnp.zeros((4, 2, 8))
  responses = Generation(
    zeros.astype(jnp.int32), lengths, zeros, zeros,
    jnp.full((4, 2), FinishReason.STOP),
  )  # fmt: skip
  prompt = Prompt(jnp.zeros((4, 1), jnp.int32), jnp.ones(4, jnp.int32))
  names = ['a', 'b', 'c', 'd']
  problems = Problems(
    lambda key: Drawn(jax.random.split(key, 4), prompt, None, names),
    lambda drawn, responses: rewards,
    str, 8, None,
  )  # fmt: skip
  chosen = options.parse(
    FinetuneOptions, config(max_rounds=2, overlong_cache=4)
  )
  setup = driver.Setup(chosen, models.Loaded(*[None] * 6), problems, None, None)
  state = finetuning.TrainState((), (), jnp.int32(0), jax.random.key(0))
  _, groups, filled, told = driver.collect(
    setup, lambda *_: responses, state, 0, driver.Clock()
  )
  np.testing.assert_array_equal(filled, [True, True, False, False])
  np.testing.assert_array_equal(groups.rewards[:2], [[0, 1], [0, 1]])
  assert float(told['alive']) == 0.25
  assert float(told['sampled']) == 2 * lengths.sum()


def test_stops_at_what_is_no_number(tmp_path, monkeypatch):
  real = driver.of_token_task

  def broken(*args):
    problems = real(*args)

    def score(drawn, responses):
      rewards = np.array(problems.score(drawn, responses))
      rewards[1, 1] = np.nan
      return rewards

    return problems._replace(score=score)

  monkeypatch.setattr(driver, 'of_token_task', broken)
  with pytest.raises(ValueError, match=r"reward of update 1, item '.* =', res"):
    driver.finetune(config(), tmp_path / 'a')


@pytest.mark.slow
def test_killed_and_run_again_it_ends_with_the_same_bits(tmp_path):
  def run(workdir, wait=True):
    command = [sys.executable, str(ROOT / 'scripts' / 'finetune.py')]
    command += [f'--config={ROOT / "configs" / "finetune_s3.py"}']
    changes = {**TINY, 'num_updates': 300, 'checkpoint_every': 10}
    command += [f'--config.{name}={x}' for name, x in changes.items()]
    process = subprocess.Popen(
      [*command, f'--workdir={workdir}'],
      env={**os.environ, 'PYTHONPATH': str(ROOT)},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    if wait:
      said, _ = process.communicate()
      assert process.returncode == 0, said
      return said
    return process

  run(tmp_path / 'whole')
  process = run(tmp_path / 'killed', wait=False)
  metrics = tmp_path / 'killed' / 'metrics.jsonl'
  while not metrics.exists() or metrics.read_text().count('\n') < 60:
    assert process.poll() is None, process.communicate()[0]
    time.sleep(0.01)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert not (tmp_path / 'killed' / 'model').exists()
  said = run(tmp_path / 'killed')
  assert 'resuming from update' in said
  for name in ('metrics.jsonl', 'evaluation.json', 'model/model.safetensors'):
    ours, theirs = (tmp_path / w / name for w in ('killed', 'whole'))
    assert ours.read_bytes() == theirs.read_bytes(), name
