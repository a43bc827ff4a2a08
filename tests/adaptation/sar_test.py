"""SAR against a plain re-implementation, and its fall and recovery."""

import chex
import jax
import numpy as np
import optax
from absl.testing import absltest
from given_logits import batch_of, given_logits, source_of

from ttc.adaptation import sar
from ttc.adaptation.sar import spare_last_stage
from ttc.models.vision import convnet

KEY = jax.random.key(0)
ROWS = np.random.default_rng(0).normal(size=(3, 6, 3)) * 2


def loss_and_slope(rows, scale, bias, kept, limit):
  z = rows * scale + bias
  p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
  h = -(p * np.log(p)).sum(-1)
  kept = kept & (h < limit)
  by_logit = -p * (np.log(p) + h[:, None]) * kept[:, None] / max(kept.sum(), 1)
  slope = np.stack([(by_logit * rows).sum(0), by_logit.sum(0)])
  return (h * kept).sum() / max(kept.sum(), 1), slope, kept


def plain_sar(batches, limit, radius=0.05, rate=0.1, momentum=0.9):
  params, trace = np.array([[1.0] * 3, [0.0] * 3]), 0.0
  for rows in batches:
    everyone = np.ones(len(rows), bool)
    _, slope, kept = loss_and_slope(rows, *params, everyone, limit)
    worst = params + radius * slope / np.sqrt((slope**2).sum())
    _, slope, _ = loss_and_slope(rows, *worst, kept, limit)
    trace = momentum * trace + slope
    params = params - rate * trace
  return params


class SarTest(absltest.TestCase):
  def run_through(self, adapter, batches, state=None):
    if state is None:
      state = adapter.init(source_of(given_logits(3)), KEY)
    update = jax.jit(adapter.update)
    for rows in batches:
      _, state = update(state, batch_of(rows), KEY)
    return state

  def test_three_steps_by_hand(self):
    optimizer = optax.sgd(0.1, momentum=0.9)
    adapter = sar(
      given_logits(3), optimizer, margin=0.7, radius=0.2, collapse=0.0
    )
    state = self.run_through(adapter, ROWS)
    wanted = plain_sar(ROWS, 0.7 * np.log(3), radius=0.2)
    got = state.learning.params
    np.testing.assert_allclose(got['norm/scale'], wanted[0], atol=1e-5)
    np.testing.assert_allclose(got['norm/bias'], wanted[1], atol=1e-5)

  def test_nothing_reliable_changes_nothing_unless_asked_to(self):
    unsure = np.zeros((4, 3))
    optimizer = optax.sgd(0.1, momentum=0.9)
    for steps_on_nothing in (False, True):
      adapter = sar(
        given_logits(3), optimizer, steps_on_nothing=steps_on_nothing
      )
      first = self.run_through(adapter, ROWS[:1])
      # Zero logits are unsure whatever the scale; the bias is taken away.
      flat = unsure - np.asarray(first.learning.params['norm/bias'])
      second = self.run_through(adapter, [flat], first)
      if not steps_on_nothing:
        chex.assert_trees_all_equal(second, first)
        continue
      trace = first.learning.opt_state[0].trace['norm/bias']
      moved = second.learning.params['norm/bias']
      wanted = first.learning.params['norm/bias'] - 0.1 * 0.9 * trace
      np.testing.assert_allclose(moved, wanted, atol=1e-6)
      self.assertEqual(float(second.mean_loss), float(first.mean_loss))

  def test_a_collapse_resets_once_or_again_and_again(self):
    sure = np.tile([9.0, 0.0, 0.0], (4, 1))
    for keeps_mean in (False, True):
      adapter = sar(given_logits(3), keeps_mean=keeps_mean, margin=0.9)
      start = adapter.init(source_of(given_logits(3)), KEY)
      fallen = self.run_through(adapter, [sure])
      chex.assert_trees_all_equal(fallen.learning, start.learning)
      self.assertEqual(bool(fallen.has_mean), keeps_mean)
      # An honest batch after it: with the old mean, one more reset.
      after = self.run_through(adapter, ROWS[:1] / 3, fallen)
      moved = bool((after.learning.params['norm/bias'] != 0).any())
      self.assertEqual(moved, not keeps_mean)

  def test_the_last_stage_is_spared(self):
    accept = spare_last_stage(convnet(widths=(4, 8), strides=(1, 2)))
    self.assertTrue(accept('norm0/scale'))
    self.assertFalse(accept('norm1/scale'))
    self.assertFalse(accept('conv0/kernel'))


if __name__ == '__main__':
  absltest.main()
