"""Combinators against what they are made of."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest
from given_logits import batch_of, compiled, given_logits, source_of

from ttc.adaptation import (
  chain_prediction,
  eata,
  episodic,
  multi_step,
  rdumb,
  reset_every,
  sliding_window,
  tent,
)

KEY = jax.random.key(0)
ROWS = np.random.default_rng(0).normal(size=(6, 4, 3)) * 2


class CombinatorsTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.network = given_logits(3)
    cls.source = source_of(cls.network)
    cls.tent = compiled(tent(cls.network, optax.sgd(0.5, momentum=0.9)))

  def states(self, adapter, batches=ROWS):
    state = adapter.init(self.source, KEY)
    visited, said = [state], []
    for rows in batches:
      prediction, state = adapter.update(state, batch_of(rows), KEY)
      visited.append(state)
      said.append(prediction)
    return visited, said

  def test_resets_after_every_third_update(self):
    adapter = compiled(reset_every(self.tent, 3))
    visited, _ = self.states(adapter)
    plain, _ = self.states(self.tent)
    for i in (1, 2):
      chex.assert_trees_all_close(visited[i].now, plain[i])
    for i in (3, 6):
      chex.assert_trees_all_equal(visited[i].now, plain[0])
    again, _ = self.states(self.tent, ROWS[3:5])
    chex.assert_trees_all_close(visited[5].now, again[2])

  def test_an_empty_batch_is_no_update(self):
    adapter = compiled(reset_every(self.tent, 1))
    state = adapter.init(self.source, KEY)
    _, new = adapter.update(state, batch_of(ROWS[0], [False] * 4), KEY)
    chex.assert_trees_all_equal(new, state)

  def test_rdumb_is_eta_that_resets(self):
    options = {'margin': 0.8, 'redundancy': 0.9}
    adam = optax.adam(0.1)
    eta = eata(self.network, adam, fisher=None, **options)
    visited, _ = self.states(
      compiled(rdumb(self.network, adam, num_updates=4, **options))
    )
    wanted, _ = self.states(compiled(eta), ROWS[:3])
    chex.assert_trees_all_close(visited[3].now, wanted[3])
    chex.assert_trees_all_equal(visited[4].now, wanted[0])

  def test_an_episode_is_one_batch(self):
    visited, said = self.states(compiled(episodic(self.tent)))
    for state in visited:
      chex.assert_trees_all_equal(state, visited[0])
    np.testing.assert_allclose(said[-1].logits, ROWS[-1], atol=1e-6)

  def test_several_steps_are_several_updates(self):
    adapter = compiled(multi_step(self.tent, 3))
    visited, said = self.states(adapter, ROWS[:1])
    plain, steps = self.states(self.tent, [ROWS[0]] * 3)
    chex.assert_trees_all_close(visited[1], plain[3], atol=1e-6)
    np.testing.assert_allclose(said[0].logits, steps[2].logits, atol=1e-6)
    self.assertEqual(int(said[0].num_forward), 12)
    with self.assertRaisesRegex(ValueError, '0 steps a batch'):
      multi_step(self.tent, 0)

  def test_a_correction_is_not_learned_from(self):
    prior = jnp.array([0.0, 5.0, 0.0])

    def correct(prediction, mask):
      moved = prediction.logits + prior * mask[:, None]
      return prediction._replace(logits=moved)

    visited, said = self.states(compiled(chain_prediction(self.tent, correct)))
    plain, wanted = self.states(self.tent)
    chex.assert_trees_all_close(visited[-1], plain[-1])
    gap = said[-1].logits - wanted[-1].logits
    np.testing.assert_allclose(gap, jnp.tile(prior, (4, 1)), atol=1e-5)

  def test_a_window_learns_once_it_is_new(self):
    adapter = compiled(sliding_window(self.tent, 4))
    state = adapter.init(self.source, KEY)
    plain, said = self.states(self.tent, ROWS[:2])
    for batch in range(2):
      for i, row in enumerate(ROWS[batch]):
        chex.assert_trees_all_close(state.now, plain[batch], atol=1e-6)
        prediction, state = adapter.update(state, batch_of([row]), KEY)
        wanted = said[batch].logits[i]
        np.testing.assert_allclose(prediction.logits[0], wanted, atol=1e-5)
        self.assertEqual(int(prediction.num_backward), 4 * (i == 3))
    chex.assert_trees_all_close(state.now, plain[2], atol=1e-6)

  def test_a_window_skips_what_only_fills_up_and_refuses_batches(self):
    adapter = sliding_window(self.tent, 4)
    state = adapter.init(self.source, KEY)
    _, new = adapter.update(state, batch_of(ROWS[0, :1], [False]), KEY)
    chex.assert_trees_all_equal(new, state)
    with self.assertRaisesRegex(ValueError, 'of one image, not of 4'):
      adapter.update(state, batch_of(ROWS[0]), KEY)


if __name__ == '__main__':
  absltest.main()
