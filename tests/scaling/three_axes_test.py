"""The driver on samplers whose outcomes are known."""

import jax
import jax.numpy as jnp
import numpy as np

from ttc import scaling

AXES = scaling.Axes(contexts=(1, 2), batches=(1, 3, 4), turns=(1, 2, 4))


def count_calls(key, axes=AXES, calls=None):
  """Answers are the context, batch and turn that made them."""

  def sample_fn(key, seen, context, batch):
    if calls is not None:
      calls.append((context, batch, int(seen), jax.random.key_data(key)))
    samples = jnp.full((5, batch), 100 * context + seen)
    return samples, jnp.full((5,), 1.0 * context * batch)

  return scaling.three_axes(
    key,
    axes,
    0,
    sample_fn,
    aggregate_fn=lambda samples: (samples[:, 0], samples.shape[1]),
    refine_fn=lambda answers: int(answers[0][0]) % 100 + 1,
    grade_fn=lambda answers: (answers[0] + 10 * answers[1]) / 1000,
  )


def test_each_turn_sees_the_one_before_and_pays_for_all():
  result = count_calls(jax.random.key(0))
  for i, C in enumerate(AXES.contexts):
    for j, B in enumerate(AXES.batches):
      for t, T in enumerate(AXES.turns):
        want = (100 * C + 10 * B + (T - 1)) / 1000
        np.testing.assert_allclose(result.accuracy[i, j, t], want, rtol=1e-6)
        np.testing.assert_array_equal(result.tokens[i, j, t], C * B * T)
        assert result.cost[i, j, t] == C * B * T
  assert result.accuracy.shape == (2, 3, 3, 5)


def test_turns_are_not_run_again_and_do_not_depend_on_the_grid():
  calls, fewer = [], []
  count_calls(jax.random.key(1), calls=calls)
  assert len(calls) == 2 * 3 * 4
  assert len({tuple(c[3].tolist()) for c in calls}) == len(calls)
  count_calls(jax.random.key(1), scaling.Axes((2,), (3,), (2,)), fewer)
  known = {c[:3]: c[3].tolist() for c in calls}
  assert [known[c[:3]] for c in fewer] == [c[3].tolist() for c in fewer]


def test_the_front_is_what_nothing_cheaper_matches():
  rng = np.random.default_rng(0)
  for _ in range(50):
    cost = rng.integers(1, 9, (2, 3, 2))
    accuracy = rng.integers(0, 6, (2, 3, 2)) / 5
    front = scaling.pareto_front(cost, accuracy)
    flat = list(zip(cost.ravel(), accuracy.ravel(), strict=True))
    for place, (c, a) in enumerate(flat):
      beaten = any((d <= c and b > a) or (d < c and b >= a) for d, b in flat)
      twin = flat.index((c, a)) < place
      assert front.ravel()[place] == (not beaten and not twin)


def test_the_best_mix_within_a_cost():
  result = count_calls(jax.random.key(0))
  everything = np.ones_like(result.on_front)
  assert scaling.best_mix(result, 32, everything) == (1, 2, 2)
  assert scaling.best_mix(result, 8, everything) == (1, 2, 0)
  only_turns = everything & (np.arange(2)[:, None, None] == 0)
  only_turns &= np.arange(3)[:, None] == 0
  assert scaling.best_mix(result, 8, only_turns) == (0, 0, 2)
  assert scaling.best_mix(result, 0.5, everything) is None
