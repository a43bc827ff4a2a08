"""What weights in fewer bits are measured at, on a tiny model."""

import json

import jax
import pytest

from ttc import models
from ttc.drivers import bench_weights
from ttc.models.published import TINY

BENCH = bench_weights.Bench(
  num_tokens=8,
  tasks=('times_table',),
  num_items=2,
  num_samples=(1,),
  new_tokens=2,
  repetitions=1,
)


@pytest.mark.slow
def test_all_figures_of_smollm2(tmp_path, capsys):
  try:
    models.load('smollm2-135m')
  except FileNotFoundError as error:
    pytest.skip(str(error))
  out = tmp_path / 'out.json'
  bench_weights.bench_weights(BENCH, out)
  report = json.loads(out.read_text())
  errors = report['errors']
  assert list(errors) == list(bench_weights.KINDS)
  assert errors['float32']['kl'] == 0 and errors['float32']['same_top'] == 1
  for kind in ('bfloat16', 'int8', 'w8a8'):
    assert 0 < errors[kind]['kl'] < 0.1
    assert abs(errors[kind]['nll'] - errors['float32']['nll']) < 0.2
  read = report['speeds']['bytes']
  assert read['bfloat16'] * 2 == read['float32']
  assert 0.25 < read['int8'] / read['float32'] < 0.27
  assert capsys.readouterr().out.count('\n|') == 12


def test_bytes_of_a_step_are_of_what_is_multiplied():
  def loaded(**changes):
    config = TINY.__class__(**{**vars(TINY), **changes})
    model = models.transformer(config)
    params = jax.eval_shape(model.init, jax.random.key(0))
    params = jax.tree.map(lambda x: jax.numpy.zeros(x.shape, x.dtype), params)
    return models.Loaded(model, params, config, None, '', '')

  tied = bench_weights.bytes_read(loaded())
  table = 4 * TINY.vocab_size * TINY.embed_dim
  assert bench_weights.bytes_read(loaded(tie_embeddings=False)) == tied
  assert tied > table
  assert tied / 4 < bench_weights.bytes_read(loaded(quantization='int8')) < tied


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'num_tokens': 300}, 'num_tokens=300 must be'),
    ({'num_tokens': 1}, 'num_tokens=1 must be'),
    ({'kinds': ('float32', 'int4')}, "'int4' is not one of float32, bfloat16"),
    ({'kinds': ('int8',)}, 'must begin with float32'),
    ({'tasks': ('times_tabel',)}, 'times_tabel'),
  ],
)
def test_what_means_nothing_is_refused(changes, says):
  with pytest.raises(ValueError, match=says):
    bench_weights.check(BENCH._replace(**changes))
