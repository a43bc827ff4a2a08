"""Searches over noise compared, as the script does."""

import json

import jax
import pytest

from ttc import diffusion
from ttc.drivers.diffuse import diffuse
from ttc.testbeds import trained_denoisers

TINY = {
  'bed': 'rare',
  'searches': ('best of N', 'FK steering'),
  'budgets': (8,),
  'num_seeds': 2,
}


def untrained(path, context):
  """A file of a model that has learned nothing."""
  options = {'channels': context or 1, 'width': 8, 'depth': 1}
  model = diffusion.make_model('dit', options, 'velocity', context)
  params = model.init(jax.random.key(0))
  data = 'painted_bouncing' if context else 'painted'
  trained_denoisers.save_model(
    path, 'dit', options, 'velocity', context, params, {'data': data}
  )
  return str(path)


def measured(path):
  lines = (path / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_mixtures_are_searched_drawn_and_not_measured_twice(tmp_path):
  pytest.importorskip('matplotlib')
  diffuse(TINY, tmp_path)
  lines = measured(tmp_path)
  assert [x['what']['search'] for x in lines] == ['best of N', 'FK steering']
  assert lines[0]['nfe'] == [256.0, 256.0]
  assert (tmp_path / 'curves.png').stat().st_size > 1000
  whole = (tmp_path / 'metrics.jsonl').read_text()
  table = (tmp_path / 'table.md').read_text()
  assert table.count('\n') == 4 and '| best of N | 256 |' in table
  # As if killed before the last line.
  cut = whole.splitlines(keepends=True)[0]
  (tmp_path / 'metrics.jsonl').write_text(cut)
  diffuse(TINY, tmp_path)
  assert (tmp_path / 'metrics.jsonl').read_text() == whole
  assert (tmp_path / 'table.md').read_text() == table


@pytest.mark.slow
def test_images_are_searched_and_shown(tmp_path):
  pytest.importorskip('matplotlib')
  model = untrained(tmp_path / 'm.npz', 0)
  config = {
    **TINY, 'bed': 'images', 'model': model, 'num_steps': 4,
    'classifier_steps': 2,
  }  # fmt: skip
  diffuse(config, tmp_path / 'run')
  assert len(measured(tmp_path / 'run')) == 2
  for name in ('curves.png', 'samples.png'):
    assert (tmp_path / 'run' / name).stat().st_size > 1000
  with pytest.raises(ValueError, match='draws images, not videos'):
    diffuse({**config, 'bed': 'video'}, tmp_path / 'other')


@pytest.mark.slow
def test_videos_are_searched_and_shown(tmp_path):
  pytest.importorskip('matplotlib')
  model = untrained(tmp_path / 'm.npz', 4)
  config = {
    **TINY, 'bed': 'video', 'model': model, 'num_steps': 4,
    'classifier_steps': 2,
  }  # fmt: skip
  diffuse(config, tmp_path / 'run')
  lines = measured(tmp_path / 'run')
  assert [x['what']['search'] for x in lines] == ['tree', 'linear'] * 2
  assert lines[1]['nfe'] >= lines[0]['nfe']
  for name in ('videos.gif', 'tree.png'):
    assert (tmp_path / 'run' / name).stat().st_size > 1000
  with pytest.raises(ValueError, match='draws videos, not images'):
    diffuse({**config, 'bed': 'images'}, tmp_path / 'other')


@pytest.mark.parametrize(
  ('changed', 'says'),
  [
    ({'bed': 'cifar'}, "config.bed='cifar' must be one of linear, rare"),
    ({'budgets': (4,)}, r'config.budgets=\(4,\) must be a tuple'),
    ({'num_steps': 6}, 'config.num_steps=6 is not a multiple of 4'),
    ({'num_steps': 8}, 'config.num_steps=8: on mixtures it is 32'),
    ({'model': 'x'}, 'config.model is no option of bed rare'),
    ({'bed': 'images'}, 'config.model is missing'),
    ({'bed': 'images', 'model': 'x'}, "model 'x' is not known"),
    ({'searches': ('beam',)}, 'config.searches='),
  ],
)
def test_bad_options_are_refused(changed, says, tmp_path):
  with pytest.raises(ValueError, match=says):
    diffuse({**TINY, **changed}, tmp_path)
