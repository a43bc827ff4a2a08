"""Rewards of predictions, the gate and its bound."""

import jax.numpy as jnp
import numpy as np
import pytest

from ttc import tasks
from ttc.finetuning import masa


def test_rewards_by_hand():
  got = masa.pass_reward(
    jnp.array([0.5, 0.625, 1.0]), jnp.array([0.5, 0.5, 0.0])
  )
  np.testing.assert_allclose(got, [1.0, 0.56234, 0.01], atol=1e-5)
  lengths = jnp.array([[4, 9, 6, 30], [4, 9, 6, 30], [5, 5, 7, 8]])
  right = jnp.array([[1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]], bool)
  predicted = jnp.array([[4.0, 5.0, 9.0, 20.0]] * 3)
  want = [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
  np.testing.assert_array_equal(
    masa.length_reward(predicted, lengths, right), want
  )
  want = [[1, 1, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
  np.testing.assert_array_equal(
    masa.length_reward(predicted, lengths, right, strict=False), want
  )


def test_notions_by_hand():
  solutions = ['a prime and a circle', 'primes again', 'a circle', 'Vertex']
  right = [True, True, False, False]
  reward = lambda *words: masa.notion_reward(
    words, 'Find the area.', solutions, right
  )
  assert reward('primes') == 1.0  # +2
  assert reward('circle') == 0.0  # +1 - 1
  assert reward('primes', 'circles') == 0.5
  assert reward('vertex') == 0.0  # letter by letter
  assert reward('area') == 0.0  # of the problem
  assert reward('area', 'prime') == 1.0
  assert reward() == 0.0


def test_meta_reward_is_a_mean_of_what_was_read():
  pass_, length = jnp.array([0.9, 0.9]), jnp.array([1.0, 1.0])
  got = masa.meta_reward(pass_, length, 0.5, jnp.array([True, False]))
  np.testing.assert_allclose(got, [0.8, 0.0], atol=1e-6)
  got = masa.meta_reward(pass_, length, None, jnp.array([True, True]))
  np.testing.assert_allclose(got, 0.95, atol=1e-6)


def test_gate_skips_only_where_it_is_sure():
  predicted = jnp.array(
    [[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [0.9, 1, 1], [0, 0, 0.25]]
  )
  np.testing.assert_array_equal(
    masa.keeps(predicted), [False, False, True, False, True]
  )
  wide = masa.Gate(low=0.0, high=1.0, spread=0.0)
  np.testing.assert_array_equal(
    masa.keeps(predicted, wide), [False, False, True, True, True]
  )
  # Sure on average, but not agreed.
  torn = jnp.array([[1.0, 1.0, 0.6]])
  assert bool(masa.keeps(torn, masa.Gate(high=0.8))[0])
  chosen, kept = masa.choose_prompts(predicted, 3)
  assert chosen.tolist()[:2] == [2, 4] and kept.tolist() == [True, True, False]


def test_cut_off_and_cloning():
  predicted = jnp.array([[4.0, 6.0], [100.0, 100.0]])
  limits = masa.length_limit(predicted, 1.5, 64)
  np.testing.assert_array_equal(limits, [8, 64])
  best, good = masa.cloning_targets(jnp.array([[0.1, 0.5], [0.1, 0.0]]))
  assert best.tolist() == [1, 0] and good.tolist() == [True, False]


def test_report_counts_groups():
  rewards = jnp.array([[0, 0], [1, 1], [0, 1], [1, 0]], jnp.float32)
  kept = jnp.array([False, True, True, False])
  report = masa.gate_report(kept, rewards)
  assert float(report.dead_removed) == 0.5
  assert float(report.useful_kept) == 0.5


@pytest.mark.parametrize(
  ('group_size', 'dead', 'useful'), [(16, 0.95, 0.91), (8, 0.85, 0.95)]
)
def test_bound_of_the_recommended_mixture(group_size, dead, useful):
  """Half of mod-97 chains of 2 to 24 at e=.1, a quarter sure, a quarter not."""
  lengths = np.arange(2, 25)
  chains = tasks.noisy_chain_accuracy(0.1, lengths, 97)
  rates = np.concatenate(
    [chains, np.full(len(lengths), 0.998)[: len(lengths) // 2 + 1],
     np.full(len(lengths), 1 / 97)[: len(lengths) // 2 + 1]]
  )  # fmt: skip
  bound = masa.gate_bound(jnp.asarray(rates, jnp.float32), group_size)
  assert float(bound.dead_removed) == pytest.approx(dead, abs=0.02)
  assert float(bound.useful_kept) == pytest.approx(useful, abs=0.02)
