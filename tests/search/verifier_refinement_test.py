"""The loop against its law, and what it must leave alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import scaling, search

# Number of faults, 0 to 3: what is generated, and how verifier and editor err.
INITIAL = jnp.array([0.1, 0.3, 0.4, 0.2])
ACCEPT = jnp.array([0.8, 0.2, 0.05, 0.0])
EDIT = jnp.array(
  [
    [0.9, 0.1, 0.0, 0.0],
    [0.7, 0.2, 0.1, 0.0],
    [0.0, 0.8, 0.1, 0.1],
    [0.0, 0.0, 0.6, 0.4],
  ]
)
STEPS = 4


def draw_each(keys, probs):
  logits = jnp.log(probs)
  logits = jnp.broadcast_to(logits, (keys.shape[0], logits.shape[-1]))
  return jax.vmap(jax.random.categorical)(keys, logits)


def refine(keys, max_steps=STEPS, fallback='last'):
  def verify(keys, content):
    yes = jax.vmap(jax.random.bernoulli)(keys, ACCEPT[content['faults']])
    return search.Verdict(yes, -1.0 * content['faults'], content['faults'])

  def edit(keys, content, advice):
    faults = draw_each(keys, EDIT[advice])
    return {'faults': faults, 'edits': content['edits'] + jnp.eye(2)}

  def generate(keys):
    faults = draw_each(keys, INITIAL)
    return {'faults': faults, 'edits': jnp.zeros((keys.size, 2, 2))}

  return search.verifier_refinement(
    keys, generate, verify, edit, max_steps, fallback=fallback
  )


run = jax.jit(refine, static_argnames='fallback')


def keys_of(seed, count):
  return jax.random.split(jax.random.key(seed), count)


@pytest.mark.parametrize('steps', [0, 1, 4])
def test_the_loop_follows_the_law(steps):
  trials = 20_000
  got = jax.device_get(run(keys_of(0, trials), steps))
  law = scaling.refinement_law(INITIAL, ACCEPT, EDIT, steps)
  for part, mask in (
    (law.accepted, got.accepted),
    (law.pending, ~got.accepted),
  ):
    share = np.bincount(got.content['faults'][mask], minlength=4) / trials
    error = np.sqrt(np.maximum(part * (1 - part), 1 / trials) / trials)
    np.testing.assert_array_less(np.abs(share - part), 4 * error)
  for name in ('num_verifications', 'num_edits'):
    counts = getattr(got, name)
    error = counts.std() / trials**0.5 + 1e-6
    assert abs(counts.mean() - getattr(law, name)) < 4 * error
  # Leaves of any rank; an edit is counted once.
  edits = got.content['edits']
  np.testing.assert_array_equal(edits[:, 0, 0], got.num_edits)
  np.testing.assert_array_equal(edits[:, 0, 1], 0)


def test_what_was_accepted_stays_whatever_the_batch_does():
  few, many = run(keys_of(1, 64), 2), run(keys_of(1, 64), 9)
  accepted = np.asarray(few.accepted)
  assert 0.1 < accepted.mean() < 0.9
  assert np.all(np.asarray(many.accepted)[accepted])
  for name in ('num_verifications', 'num_edits'):
    np.testing.assert_array_equal(
      getattr(few, name)[accepted], getattr(many, name)[accepted]
    )
  jax.tree.map(
    lambda x, y: np.testing.assert_array_equal(x[accepted], y[accepted]),
    few.content,
    many.content,
  )
  alone = refine(keys_of(1, 64)[7:8], 9)
  np.testing.assert_array_equal(
    alone.content['faults'][0], many.content['faults'][7]
  )


def test_the_best_is_returned_where_nothing_was_accepted():
  keys = keys_of(2, 4000)
  last, best = run(keys), run(keys, fallback='best')
  accepted = np.asarray(last.accepted)
  faults = lambda r: np.asarray(r.content['faults'])
  np.testing.assert_array_equal(faults(last)[accepted], faults(best)[accepted])
  # The best of the four that were verified, not of the edit behind them.
  trajectory = np.stack([faults(run(keys, t)) for t in range(STEPS)])
  np.testing.assert_array_equal(
    faults(best)[~accepted], trajectory[:, ~accepted].min(axis=0)
  )
