"""A maze of dead ends, its scripts by their laws, and thoughts that count."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc.testbeds import acting_agents as agents
from ttc.testbeds import maze_agents
from ttc.testbeds.maze_agents import NUM_CELLS, SIDE, SITE

MOVES = (-SIDE, 1, SIDE, -1)


@pytest.fixture(scope='module', name='mazes')
def _mazes():
  return jax.device_get(
    jax.jit(jax.vmap(SITE.reset))(jax.random.split(jax.random.key(0), 200))[1]
  )


def paths(is_open, start):
  """Cells behind the start, with the cell that leads to each."""
  before, queue = {start: None}, collections.deque([start])
  while queue:
    cell = queue.popleft()
    for direction in np.flatnonzero(is_open[cell]):
      after = cell + MOVES[direction]
      if after not in before:
        before[after] = cell
        queue.append(after)
  return before


def test_corridors_are_a_tree_and_open_both_ways(mazes):
  for is_open, start in zip(mazes.is_open[:50], mazes.cell, strict=False):
    assert is_open.sum() == 2 * (NUM_CELLS - 1)
    assert len(paths(is_open, start)) == NUM_CELLS
    for cell, direction in np.argwhere(is_open):
      assert is_open[cell + MOVES[direction], (direction + 2) % 4]
  assert (mazes.cell != mazes.goal).all()


def episodes(explorers, odd=0.0, num=200):
  play = jax.jit(agents.demonstrations, static_argnums=(0, 2, 3, 4))
  return jax.device_get(play(SITE, jax.random.key(3), num, explorers, odd))


def test_the_explorer_sees_every_cell_within_two_moves_each():
  found = episodes(1.0)
  assert (found.rewards == 1).all()
  assert found.lengths.max() <= 2 * (NUM_CELLS - 1) + 1
  assert found.lengths.min() >= 2


def test_who_never_turns_back_is_right_as_often_as_forks_allow():
  found = episodes(0.0, num=400)
  keys = jax.random.split(jax.random.key(3), 2)[1]
  states = jax.vmap(lambda key: SITE.reset(jax.random.fold_in(key, 0))[1])(
    jax.random.split(keys, 400)
  )
  chances, shortest = [], []
  for is_open, start, goal in zip(*map(np.asarray, states[:3]), strict=True):
    before, cell, chance, count = paths(is_open, start), goal, 1.0, 0
    while before[cell] is not None:
      cell, count = before[cell], count + 1
      chance /= is_open[cell].sum() - (cell != start)
    chances.append(chance)
    shortest.append(count)
  error = np.sqrt(np.mean(np.array(chances) * (1 - np.array(chances))) / 400)
  assert abs(found.rewards.mean() - np.mean(chances)) < 3 * error
  arrived = found.rewards > 0
  np.testing.assert_array_equal(
    found.lengths[arrived], np.array(shortest)[arrived] + 1
  )


def test_thoughts_are_of_one_length_and_who_thinks_slips_less():
  found = episodes(1.0, odd=0.4, num=600)
  count = (found.thoughts >= 0).sum(axis=-1)
  assert (count == count[0]).all() and set(count[0]) == {0, 1, 2, 3}
  for m in (1, 3):
    taken = found.active & (count == m)
    differs = (found.thoughts[..., 0] != found.actions)[taken]
    want = 0.4 / (1 + m) * 4 / 5  # one action in five is no slip
    assert differs.mean() == pytest.approx(want, abs=0.02)


def test_no_thought_is_no_step_of_the_memory():
  params = agents.init_policy(SITE, jax.random.key(1))
  short = jax.tree.map(jnp.asarray, episodes(1.0, num=8))
  none = short._replace(thoughts=jnp.full_like(short.thoughts, -1))
  empty = short._replace(thoughts=short.thoughts[..., :0])
  counts = jnp.ones(8, bool)
  loss = lambda e: agents.clone_loss(SITE, params, e, counts)
  assert float(loss(none)) == pytest.approx(float(loss(empty)), rel=1e-5)
  assert float(loss(short)) > float(loss(none))


@pytest.mark.slow
def test_all_schedules_are_one_program():
  params = agents.init_policy(SITE, jax.random.key(1))
  before = agents.tti._cache_size()
  curves = [
    agents.tti(SITE, params, jax.random.key(0), jnp.array(horizons), 32)[1]
    for horizons in ([2, 2], [2, 8], [8, 8])
  ]
  assert agents.tti._cache_size() == before + 1
  steps = [int(curve.env_steps[-1]) for curve in curves]
  assert steps[0] < steps[1] < steps[2] <= 2 * 32 * 8
  assert maze_agents.LONGEST >= 2 * (NUM_CELLS - 1) + 1
