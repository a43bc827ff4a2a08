"""What is timed: the lengths, the ways to share out rows, and their least."""

import jax
import pytest

from ttc import sampling
from ttc.drivers import bench_batching, journal
from ttc.drivers.bench_batching import CHECK, Way, Work
from ttc.evaluation import SampleRecord


def record(item, index):
  return SampleRecord(
    item_id=f'item/{item}',
    sample_idx=index,
    seed=0,
    prompt_hash='p',
    prompt_tokens=10 + item,
    completion_tokens=item + index,
    completion='',
    finish_reason='stop',
    sum_logprob=0.0,
    mean_logprob=0.0,
  )


def test_lengths_of_a_run_whose_last_problem_is_not_finished(tmp_path):
  found = [record(0, 0), record(0, 1), record(0, 2), record(1, 0), record(1, 1)]
  journal.append_records(tmp_path, [*found, record(2, 0)])
  bench = CHECK._replace(records=str(tmp_path), num_samples=2, front=0)
  work = bench_batching.make_work(bench)
  assert work.lengths == [[1, 1], [1, 2]]  # an empty one counts as one token
  assert list(map(len, work.prompts)) == [10, 11]
  with pytest.raises(ValueError, match='--num_samples=4 is more than the 3 of'):
    bench_batching.make_work(bench._replace(num_samples=4))


@pytest.mark.parametrize(('num_samples', 'rows'), [(1, [1]), (16, [1, 4, 16])])
def test_all_ways_have_the_same_rows(num_samples, rows):
  bench = CHECK._replace(num_samples=num_samples, num_rows=16, front=0)
  whole, *ways = bench_batching.make_ways(bench)
  assert whole == ('whole batches', None, 16, ())
  assert [way.num_rows for way in ways] == rows
  assert all(way.num_slots * way.num_rows == 16 for way in ways)
  _, *both = bench_batching.make_ways(bench._replace(front=3))
  assert both[::2] == ways
  assert [way.front for way in both[1::2]] == [[1, 2, 3]] * len(ways)


def test_the_least_is_list_scheduling():
  work = Work([[1]] * 3, [[5, 1, 2], [4, 4, 1], [2, 2, 2]])
  # On two rows the problems end after 5, 5 and 4 steps; on two slots after 9.
  assert bench_batching.least_row_steps(Way('', 2, 2), work) == 9 * 2 * 2
  model, params = bench_batching.load(CHECK)
  problems = [
    sampling.Request(prompt, jax.random.key(0), range(3), lengths)
    for prompt, lengths in zip(*work, strict=True)
  ]
  found = bench_batching.decode(Way('', 2, 2), model, params, problems)
  assert found == 9 * 2 * 2
