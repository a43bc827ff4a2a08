import json

import pytest

from ttc.drivers import bench_adapt
from ttc.drivers.bench_adapt import Bench


@pytest.mark.parametrize(
  ('changed', 'says'),
  [
    ({'methods': ('sar',)}, "--methods: 'sar', expected some of tent, eata"),
    ({'num_streams': 0}, '--num_streams=0 must be at least 1'),
    ({'batch_size': -1}, '--batch_size=-1 must be at least 1'),
  ],
)
def test_what_means_nothing_is_refused(changed, says):
  with pytest.raises(ValueError, match=says):
    bench_adapt.bench_adapt(Bench()._replace(**changed))


@pytest.mark.slow
def test_a_row_for_each_method(tmp_path):
  bench = Bench(
    methods=('tent',),
    batch_size=4,
    num_batches=2,
    num_streams=2,
    repetitions=2,
  )
  table = bench_adapt.bench_adapt(bench, tmp_path / 'out.json')
  header, _, row = table.splitlines()
  assert header.count('|') == row.count('|')
  assert '2 streams / 2 runs' in header
  found = json.loads((tmp_path / 'out.json').read_text())['tent']
  assert len(found['seconds']['ours']) == 2 and 'torch' not in found['seconds']
  with pytest.raises(FileNotFoundError, match=r'methods/tent\.py'):
    bench_adapt.bench_adapt(bench._replace(peer=str(tmp_path)))
