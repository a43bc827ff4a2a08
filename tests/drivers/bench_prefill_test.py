"""What reading a prompt is measured at, on a tiny model."""

import json

import pytest

from ttc.drivers import bench_prefill


@pytest.mark.slow
def test_check(tmp_path, capsys):
  out = tmp_path / 'out.json'
  bench_prefill.bench_prefill(None, [64, 256], repetitions=1, out=out)
  rows = json.loads(out.read_text())
  assert [row['tokens'] for row in rows] == [64, 256]
  for row in rows:
    for way in ('blocks', 'one_piece'):
      assert row[way]['seconds'] > 0
      assert row[way]['peak_gb'] >= row[way]['before_gb'] > 0
  assert capsys.readouterr().out.count('\n|') == 3


def test_a_prompt_beyond_the_model_is_refused():
  with pytest.raises(ValueError, match='9000 must be below the 8192'):
    bench_prefill.measure(None, 9000, 'blocks', 1)
