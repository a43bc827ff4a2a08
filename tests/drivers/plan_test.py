"""What `plan.py` prints and refuses."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from ttc import models
from ttc.drivers import plan, plan_check, plan_rates
from ttc.models.published import PUBLISHED
from ttc.scaling import costs
from ttc.scaling.slices import Work, parse_slice

# Parameters in billions, as the cards of the models count them.
CARDS = {
  'SmolLM2-135M': 0.1345,
  'Qwen3-0.6B': 0.596,
  'Qwen3-8B': 8.19,
  'Qwen3-32B': 32.76,
  'Qwen3-30B-A3B': 30.53,
  'Llama-3.1-70B': 70.55,
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_shapes_have_the_parameters_of_their_cards(name):
  config = PUBLISHED[name]
  config = dataclasses.replace(config, scan_layers=True)
  params = jax.eval_shape(models.transformer(config).init, jax.random.key(0))
  count = models.num_params(params) / 1e9
  np.testing.assert_allclose(count, CARDS[name], rtol=2e-3)


def test_a_table_of_layouts_and_a_picture(tmp_path, capsys):
  out = tmp_path / 'plan.png'
  work = Work(2048, 1024, 64, 8)
  plan.plan(plan.Plan('Qwen3-8B', 'v5e-8', work, out=str(out)))
  printed = capsys.readouterr().out
  assert '| 8 x 1 | 16.38 |' in printed and '| 1 x 8 | 2.05 |' in printed
  assert 'data=1 copies by model=8' in printed
  assert out.read_bytes().startswith(b'\x89PNG')
  plan.plan(plan.Plan('Llama-3.1-70B', 'v5e-8', work))
  assert 'Nothing fits' in capsys.readouterr().out


def test_a_directory(tmp_path, capsys):
  values = {
    'architectures': ['LlamaForCausalLM'],
    'vocab_size': 64,
    'hidden_size': 32,
    'intermediate_size': 64,
    'num_hidden_layers': 2,
    'num_attention_heads': 4,
    'num_key_value_heads': 2,
    'max_position_embeddings': 512,
    'rms_norm_eps': 1e-5,
    'tie_word_embeddings': True,
  }
  (tmp_path / 'config.json').write_text(json.dumps(values))
  plan.plan(plan.Plan(str(tmp_path), 'h100-2', Work(16, 8, 2), price=2.0))
  assert 'of what fits' in capsys.readouterr().out


def test_a_layout_of_ones_own(capsys):
  asked = plan.Plan('Qwen3-8B', 'v5e-8', Work(2048, 256, 4), layout='2x4')
  plan.plan(asked)
  assert 'Asked for: a mesh of data=2 copies' in capsys.readouterr().out
  with pytest.raises(ValueError, match='--layout=3x3 is not one of 8x1, 4x2'):
    plan.plan(asked._replace(layout='3x3'))


@pytest.mark.parametrize(
  ('asked', 'message'),
  [
    (('Qwen4', 'v5e-8', Work(1, 1, 1)), "--model=Qwen4 is neither .*Qwen3-8B'"),
    (('Qwen3-8B', 'v9-8', Work(1, 1, 1)), "'v9-8' is not KIND-COUNT.*v5e"),
    (('Qwen3-8B', 'v5e-8', Work(40_000, 1000, 1)), '41000 tokens; .* 40960'),
    (('Qwen3-8B', 'v5e-8', Work(1, 1, 1), math.nan), 'bytes_per_param=nan'),
    (('Qwen3-8B', 'v5e-8', Work(1, 1, 1), 2, 'sum', math.inf), 'price=inf'),
  ],
)
def test_bad_input(asked, message):
  with pytest.raises(ValueError, match=message):
    plan.plan(plan.Plan(*asked))


@pytest.mark.parametrize(
  ('slice_', 'other', 'message'),
  [
    ('b200-8', {}, '--compile is for v5e, .*, h200, not --slice=b200-8'),
    ('h100-16', {}, '--compile is for up to 8 GPUs, not --slice=h100-16'),
    (
      'v5e-8',
      {'program': 'es', 'compile': False},
      'program=es needs --compile',
    ),
    ('v5e-8', {'population': 8}, '--population is an option of .*=es or ippo'),
    ('v5e-8', {'program': 'es', 'layout': '1x8'}, '--layout is an option of'),
    ('v5e-8', {'program': 'train', 'layout': '3x3'}, 'not one of 8x1, 4x2'),
    (
      'v5e-8',
      {'program': 'train', 'work': Work(8, 8, 2, 3, 16)},
      '--kv_budget',
    ),
    ('v5e-8', {'training': plan.Training(4)}, '--lora_rank is an option of'),
  ],
)
def test_nothing_is_printed_before_what_cannot_be_compiled(
  slice_, other, message, capsys
):
  asked = plan.Plan('Qwen3-8B', slice_, Work(8, 8, 2), compile=True)
  with pytest.raises(ValueError, match=message):
    plan.plan(asked._replace(**other))
  assert not capsys.readouterr().out


def test_the_price_is_that_of_the_kind_asked_for():
  config = PUBLISHED['SmolLM2-135M']
  shape = plan.find_shape(config)
  listed = plan.Plan('SmolLM2-135M', 'v5e-1', Work(16, 8, 2))

  def usd(asked, name):
    devices = parse_slice(name)
    (found,) = plan.predict_all(asked, shape, config.embed_dim, devices)
    return found.usd_per_million_tokens

  other = listed._replace(price=2.4)  # twice the one of the list
  np.testing.assert_allclose(usd(other, 'v5e-1'), 2 * usd(listed, 'v5e-1'))
  assert usd(other, 'v6e-1') == usd(listed, 'v6e-1')
  assert usd(other, 'h100-1') is None


def test_the_parts_of_a_step_are_counted_once():
  """Weights but for the norms', and the room of the caches."""
  config = PUBLISHED['SmolLM2-135M']
  params = jax.eval_shape(models.transformer(config).init, jax.random.key(0))
  norms = (2 * config.num_layers + 1) * config.embed_dim
  one, four = (plan_rates.step_amounts(config, n, 128, 64) for n in (1, 4))
  assert four.products == 8 * (models.num_params(params) - norms)
  shape = plan.find_shape(config)._replace(bytes_per_element=4)
  assert four.attention == costs.kv_cache_bytes(shape, 1, 4, 128, 64)
  # All but the prompt's cache is of each row.
  assert four.drawing == 4 * one.drawing == 4 * 4 * 49_152
  assert four.between == 4 * one.between
  prompt = 128 * shape.kv_bytes_per_token
  assert four.attention - prompt == 4 * (one.attention - prompt)


def test_the_law_of_a_step_is_the_sum_of_its_parts():
  config = PUBLISHED['SmolLM2-135M']
  amounts = plan_rates.step_amounts(config, 4, 128, 64)
  seconds = plan_rates.Amounts(0.5, 0.25, 0.125, 1.0)
  took = {name: 8 * s for name, s in seconds._asdict().items()}
  rates = plan_rates.rates(amounts, took)  # a timed call has eight steps
  steps = plan_check.step_seconds(amounts, rates)
  np.testing.assert_allclose(steps, seconds)
  # The first token of 64 is drawn from what the prompt says.
  whole = plan_check.predict(config, 4, rates, 3.0)
  np.testing.assert_allclose(whole, 3 + 0.125 + 63 * 1.875)
  faster = rates._replace(attention=2 * rates.attention)
  saved = whole - plan_check.predict(config, 4, faster, 3.0)
  np.testing.assert_allclose(saved, 63 * 0.125)


def test_the_check_runs(capsys):
  ratios = plan_check.check_here((2,), small=True, repetitions=1)
  assert len(ratios) == 1 and ratios[0] > 0
  assert 'predicted / measured' in capsys.readouterr().out
