"""Beds: every one builds, has what it says, and trains once."""

import dataclasses
import importlib
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import evaluation, finetuning, models, search, tasks, testbeds
from ttc.testbeds import train
from ttc.testbeds.calibrated import base_law, noisy_steps
from ttc.testbeds.table import TASK
from ttc.types import Generation

README = pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'testbeds.md'
CONFIG = models.TransformerConfig(
  vocab_size=TASK.vocab_size,
  num_layers=1,
  embed_dim=8,
  mlp_dim=8,
  num_heads=1,
  num_kv_heads=1,
  head_dim=8,
)
RECIPE = testbeds.Recipe((2, 1))


def batch_fn(key):
  draw = lambda key: tasks.training_sequence(TASK.generate(key))
  sequence = jax.vmap(draw)(jax.random.split(key, 4))
  return sequence.tokens, sequence.is_trace


def trained(cache, seed=0, config=CONFIG):
  return testbeds.trained_transformer(
    'piece', config, RECIPE, [batch_fn, batch_fn], seed, cache
  )


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp('cache')


def test_a_piece_is_trained_once_and_known_by_name_config_and_seed(
  cache, monkeypatch
):
  calls = []

  def fake(loss_fn, init, recipe, batch_fns, key):
    calls.append(key)
    return init(key)

  monkeypatch.setattr(train, 'train', fake)
  first, again = trained(cache), trained(cache)
  assert len(calls) == 1
  jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
  other = trained(cache, seed=1)
  wide = trained(cache, config=dataclasses.replace(CONFIG, mlp_dim=16))
  assert len(calls) == 3
  assert wide.config.mlp_dim == 16
  ravel = lambda loaded: np.concatenate(
    [np.ravel(x) for x in jax.tree.leaves(loaded.params)]
  )
  assert not np.array_equal(ravel(first), ravel(other))


def test_a_killed_training_leaves_no_half_model(tmp_path, monkeypatch):
  save = models.save_checkpoint

  def killed(path, config, params):
    save(path, config, params)  # as far as it came
    raise KeyboardInterrupt

  monkeypatch.setattr(train, 'train', lambda loss_fn, init, *_: init(_[-1]))
  monkeypatch.setattr(models, 'save_checkpoint', killed)
  with pytest.raises(KeyboardInterrupt):
    trained(tmp_path)
  assert not list(tmp_path.glob('*/0'))
  monkeypatch.setattr(models, 'save_checkpoint', save)
  assert trained(tmp_path).config == CONFIG


def test_training_in_pieces_is_training():
  model = models.table_model(TASK.vocab_size)
  optimizer = RECIPE.optimizer
  loss_fn = lambda params, batch: finetuning.next_token_loss(
    model, params, *batch
  )
  step = finetuning.make_train_step(loss_fn, optimizer)
  start = lambda: finetuning.init_state(
    model.init, optimizer, jax.random.key(0)
  )
  reports = []
  for state, metrics in finetuning.train(step, batch_fn, start(), 5, every=2):
    reports.append((int(state.step), metrics['loss'].shape))
  assert reports == [(2, (2,)), (4, (2,)), (5, (1,))]
  whole, _ = finetuning.run_steps(step, batch_fn, start(), 5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
    state.params,
    whole.params,
  )
  # A bed's training is the same, in one program or in several.
  once, twice = (
    train.train(
      loss_fn,
      model.init,
      RECIPE._replace(steps=(3, 2), every=every),
      [batch_fn, batch_fn],
      jax.random.key(0),
    )
    for every in (None, 2)
  )
  np.testing.assert_allclose(once, twice, atol=1e-5)
  assert np.abs(once - start().params).max() > 1e-4


def test_the_table_bed_is_what_it_says(cache):
  size = testbeds.Size('test', num_problems=5)
  world = testbeds.table(0, size, cache)
  again, other = (testbeds.table(seed, size, cache) for seed in (0, 1))
  assert world.gold.shape == (5,) and len(set(world.item_ids)) == 5
  np.testing.assert_array_equal(world.prompt.tokens, again.prompt.tokens)
  assert not set(world.item_ids) & set(other.item_ids)
  methods = {m.name: m for m in search.METHODS}
  assert world.has(methods['best_of_n'])
  assert world.has(methods['revisions'])
  assert not world.has(methods['atom_of_thoughts'])


def test_the_noisy_verifier_errs_in_one_of_ten():
  from ttc.testbeds.calibrated import TASK as WORDS

  num = 4000
  keys = jax.random.split(jax.random.key(0), num)
  problems = jax.jit(jax.vmap(WORDS.generate))(keys)
  tokens = problems.trace[:, None, :8]
  zeros = jnp.zeros(tokens.shape)
  ones = jnp.ones(tokens.shape[:2], jnp.int32)
  responses = Generation(tokens, 8 * ones, zeros, zeros, ones)
  prompt = tasks.to_prompt(problems)
  exact = tasks.step_score_fn(WORDS, problems)(prompt, responses) > 0
  said = noisy_steps(problems, jax.random.key(1))(prompt, responses) > 0.5
  rate = float(jnp.mean(said != exact))
  assert abs(rate - 0.1) < 4 * (0.09 / num) ** 0.5
  again = noisy_steps(problems, jax.random.key(1))(prompt, responses) > 0.5
  np.testing.assert_array_equal(said, again)


def test_the_law_of_the_base_is_a_law():
  law = np.asarray(base_law())
  assert abs(law.sum() - 1) < 1e-6
  # One word of eight: all right, or errors that undo each other.
  assert law[0] > 0.9**8


@pytest.mark.slow
@pytest.mark.parametrize('bed', testbeds.TESTBEDS, ids=lambda bed: bed.__name__)
def test_every_bed_runs_a_method(bed, cache):
  try:
    world = bed(0, testbeds.TINY, cache)
  except (FileNotFoundError, ImportError) as error:
    pytest.skip(str(error))
  method = next(m for m in search.METHODS if m.name == 'self_consistency')
  keys = jnp.stack([evaluation.problem_key(0, i) for i in world.item_ids])
  setting = world.setting_fn(world.params, world.problems)
  chosen = search.solve(method, setting, keys, world.prompt, 2)
  assert chosen.answer.shape == world.gold.shape == (testbeds.TINY[1],)
  assert world.flops_per_token > 0


@pytest.mark.slow
def test_the_example_of_a_method_on_three_beds_runs(cache, capsys):
  text = README.read_text(encoding='utf-8')
  blocks = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
  block = next(b for b in blocks if 'testbeds' in b)
  block = block.replace("'runs/testbeds'", repr(str(cache)))
  exec(re.sub(r'testbeds.Size(.*)', 'testbeds.TINY', block), {})
  lines = capsys.readouterr().out.splitlines()
  assert [line.split(':')[0] for line in lines] == [
    'table',
    'S3, noisy step verifier',
    'S3, model that thinks, revises and checks',
  ]


def test_how_many_problems_are_asked_does_not_change_what_was_trained(
  monkeypatch,
):
  """A verifier was once trained on few rollouts where few were asked."""
  bed = importlib.import_module('ttc.testbeds.learned_verifier')
  asked = []
  model = models.transformer(CONFIG)
  policy = models.Loaded(model, {}, CONFIG, None, 'policy', '')
  monkeypatch.setattr(bed, 'generators', lambda *_: policy)
  monkeypatch.setattr(bed, 'trained_params', lambda *args: asked.append(args))
  for size in (testbeds.Size('few', num_problems=96), testbeds.FULL):
    bed.process_reward_model(0, size, 'cache')
  assert asked[0][0] == asked[1][0]
  bed.process_reward_model(0, testbeds.TINY, 'cache')
  assert asked[2][0] != asked[1][0]
