import jax
import jax.numpy as jnp
import numpy as np

from ttc.tasks import answer_world


def setup_module():
  global WORLD
  WORLD = answer_world.random_world(jax.random.key(0), 3, 4, score_signal=2.0)


def test_law_is_the_sum_over_paths():
  law = answer_world.answer_law(WORLD, 3)
  assert abs(float(law.sum()) - 1) < 1e-6
  by_hand = [
    float(jnp.exp(WORLD.log_probs[4 * a : 4 * a + 4]).sum()) for a in range(3)
  ]
  np.testing.assert_allclose(law, by_hand, rtol=1e-5)
  without = WORLD._replace(answers=WORLD.answers.at[:4].set(-1))
  np.testing.assert_allclose(
    answer_world.answer_law(without, 3), [0, *by_hand[1:]], rtol=1e-5
  )


def test_paths_are_drawn_by_their_probabilities():
  paths = answer_world.draw_paths(jax.random.key(1), WORLD, 20_000)
  shares = np.bincount(paths, minlength=12) / 20_000
  probs = np.exp(WORLD.log_probs)
  # Four standard errors.
  np.testing.assert_array_less(
    np.abs(shares - probs), 4 * np.sqrt(probs * (1 - probs) / 20_000)
  )
  samples = answer_world.observe_paths(WORLD, paths[:10])
  np.testing.assert_array_equal(samples.answers, paths[:10] // 4)
  np.testing.assert_array_equal(samples.log_probs, WORLD.log_probs[paths[:10]])
  np.testing.assert_array_equal(samples.lengths, WORLD.lengths[paths[:10]])


def test_the_edge_makes_problems_easier_and_scores_know_the_right_answer():
  keys = jax.random.split(jax.random.key(2), 500)

  @jax.jit
  def accuracy(edge):
    draw = lambda key: answer_world.random_world(key, 3, 4, edge=edge)
    worlds = jax.jit(jax.vmap(draw))(keys)
    laws = jax.vmap(answer_world.answer_law, in_axes=(0, None))(worlds, 3)
    return laws[:, 0].mean(), worlds

  (even, world), (easy, _) = accuracy(0.0), accuracy(2.0)
  assert abs(even - 1 / 3) < 0.03 and easy > 0.6
  right = world.answers == 0
  gap = world.scores[right].mean() - world.scores[~right].mean()
  assert abs(float(gap) - 1.0) < 4 * (1 / 2000 + 1 / 4000) ** 0.5
