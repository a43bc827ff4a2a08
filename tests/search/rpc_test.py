import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import search
from ttc.search.rpc import first_copies, path_weights, surviving_paths
from ttc.tasks import answer_world
from ttc.types import Samples


@jax.jit
def prune(log_p, mask):
  """The fit and the kept paths."""
  return search.fit_weibull_mixture(log_p, mask), surviving_paths(log_p, mask)


def pad(x, size=40):
  return jnp.concatenate([x, jnp.full((size - x.size,), -0.7)])


# Mean log-probabilities and answers of ten different paths.
LOG_P = -jnp.array([0.1, 0.12, 0.11, 0.35, 0.4, 0.9, 1, 1.1, 0.95, 1.05])
ANSWERS = jnp.array([0, 1, 0, 1, 1, 2, 2, 2, 2, 3])
TEN, FIVE = jnp.arange(40) < 10, jnp.arange(40) < 5


def samples_of(answers, log_probs, lengths=1):
  return Samples(
    answers=answers,
    scores=jnp.zeros(answers.shape),
    log_probs=log_probs * lengths,
    lengths=jnp.full(answers.shape, lengths),
    finished=jnp.ones(answers.shape, bool),
  )


SELECT = {
  name: jax.jit(select)
  for name, select in (
    ('majority', search.majority_vote),
    ('perplexity', search.lowest_perplexity),
    ('confidence', search.confidence_vote()),
    ('pc', search.perplexity_consistency(length_norm=True)),
    ('pc of the sum', search.perplexity_consistency(length_norm=False)),
    ('rpc', search.rpc(length_norm=True)),
  )
}


def answer_of(name, samples):
  return int(SELECT[name](samples, jnp.int32(samples.answers.size)).answer)


class TestWorkedExample:
  def test_each_method_chooses_another_answer(self):
    samples = samples_of(ANSWERS, LOG_P, lengths=7)
    assert answer_of('majority', samples) == 2
    assert answer_of('perplexity', samples) == 0
    assert answer_of('rpc', samples) == 1
    # Unpruned, four paths of .37 beat three of .75: .37 * 4 < .89 + .70 + .67.
    assert answer_of('pc', samples) == 1

  def test_fit_pruned_paths_and_shares(self):
    fit, kept = prune(pad(LOG_P), TEN)
    assert -fit.log_likelihood <= -8.691332 + 1e-4
    np.testing.assert_allclose(fit.mixture.shapes, [10.388, 15.789], rtol=1e-3)
    np.testing.assert_allclose(
      jnp.exp(fit.mixture.log_scales), [0.8566, 0.3810], rtol=1e-3
    )
    np.testing.assert_array_equal(kept, FIVE)
    shares = search.answer_shares(ANSWERS, path_weights(LOG_P, kept[:10]))
    np.testing.assert_allclose(
      shares, [0.443231, 0.556769, 0.443231, 0.556769, 0.556769, *[0] * 5], 1e-5
    )


@pytest.mark.parametrize('seed', range(4))
def test_fit_is_as_likely_as_that_of_scipy(seed):
  """Beta(8, 2) and Beta(4, 6), where L-BFGS-B of the paper's code ends well."""
  scipy = pytest.importorskip('scipy.optimize')
  rng = np.random.default_rng(seed)
  p = np.where(rng.random(40) < 0.5, rng.beta(8, 2, 40), rng.beta(4, 6, 40))

  def parts(theta):
    w, *rest = theta
    k, scale = np.array(rest[::2])[:, None], np.array(rest[1::2])[:, None]
    with np.errstate(over='ignore'):
      log_pdf = np.log(k / scale) + (k - 1) * np.log(p / scale)
      return log_pdf - (p / scale) ** k + np.log([[w], [1 - w]])

  loss = lambda theta: -np.logaddexp(*parts(theta)).sum()
  bounds = [(0.2, 0.8)] + [(0.01, None)] * 4
  theirs = scipy.minimize(loss, [0.5, 1, 1, 1.5, 2], bounds=bounds)
  fit, kept = prune(jnp.log(jnp.asarray(p, jnp.float32)), jnp.ones(40, bool))
  assert -fit.log_likelihood <= theirs.fun + 1e-4
  first, second = parts(theirs.x)
  means = [
    scale * float(jnp.exp(jax.scipy.special.gammaln(1 + 1 / k)))
    for k, scale in (theirs.x[1:3], theirs.x[3:5])
  ]
  low = (first < second) if means[0] > means[1] else (second < first)
  np.testing.assert_array_equal(kept, ~(low & (p < p.mean())))


class TestPruning:
  def test_a_common_factor_changes_the_scales_only(self):
    fit, kept = prune(pad(LOG_P), TEN)
    tiny, same = prune(pad(LOG_P) - 300.0, TEN)  # exp underflows
    np.testing.assert_allclose(tiny.mixture.shapes, fit.mixture.shapes, 1e-3)
    np.testing.assert_allclose(
      tiny.mixture.log_scales, fit.mixture.log_scales - 300, rtol=1e-6
    )
    np.testing.assert_allclose(
      tiny.log_likelihood, fit.log_likelihood + 3000, rtol=1e-5
    )
    np.testing.assert_array_equal(same, kept)

  def test_paths_outside_the_mask_never_matter(self):
    noise = -jax.random.exponential(jax.random.key(0), (40,))
    fit, kept = prune(pad(LOG_P), TEN)
    other, same = prune(jnp.where(TEN, pad(LOG_P), noise), TEN)
    np.testing.assert_allclose(fit.log_likelihood, other.log_likelihood, 1e-5)
    np.testing.assert_array_equal(same, kept)

  def test_order_does_not_matter(self):
    order = jax.random.permutation(jax.random.key(0), 40)
    _, kept = prune(pad(LOG_P)[order], TEN[order])
    np.testing.assert_array_equal(kept, FIVE[order])

  def test_few_or_equal_paths_are_kept(self):
    few = jnp.isin(jnp.arange(40), jnp.array([0, 3, 5, 6, 7, 8, 9]))
    np.testing.assert_array_equal(prune(pad(LOG_P), few)[1], few)
    for value in (-0.3, 0.0, -700.0):
      fit, kept = prune(jnp.full(40, value), TEN)
      np.testing.assert_array_equal(kept, TEN)
      assert jnp.isfinite(fit.log_likelihood)

  def test_only_paths_below_the_mean_are_dropped(self):
    p = np.random.default_rng(1).random((10, 40))
    kept = [prune(jnp.log(jnp.asarray(row, jnp.float32)), TEN)[1] for row in p]
    kept, p = np.array(kept)[:, :10], p[:, :10]
    assert np.all(kept | (p < p.mean(axis=1, keepdims=True)))
    assert not np.all(kept)


class TestSpecialCases:
  def test_equal_confidences_of_different_paths_make_a_majority(self):
    rng = np.random.default_rng(2)
    lengths = jnp.arange(1, 11)  # so no path is a copy
    for answers in jnp.asarray(rng.integers(0, 4, (8, 10))):
      samples = samples_of(answers, jnp.full(10, -0.5))
      samples = samples._replace(lengths=lengths, log_probs=-0.5 * lengths)
      votes = {
        answer_of(name, samples)
        for name in ('majority', 'confidence', 'pc', 'rpc')
      }
      assert len(votes) == 1

  def test_copies_count_once(self):
    answers = jnp.array([0, 0, 0, 1, 1])
    log_probs = jnp.log(jnp.array([0.4, 0.4, 0.4, 0.3, 0.2]))
    samples = samples_of(answers, log_probs)
    mask = jnp.ones(5, bool)
    np.testing.assert_array_equal(
      first_copies(samples, mask), [True, False, False, True, True]
    )
    later = mask.at[0].set(False)  # the first copy is not looked at
    np.testing.assert_array_equal(
      first_copies(samples, later), [False, True, False, True, True]
    )
    assert answer_of('pc', samples) == 1  # .5 > .4
    assert answer_of('confidence', samples) == 0

  def test_length_norm_is_what_divides_by_the_length(self):
    samples = Samples(
      answers=jnp.array([0, 1]),
      scores=jnp.zeros(2),
      log_probs=jnp.array([-800.0, -900.0]),  # exp underflows
      lengths=jnp.array([100, 300]),
      finished=jnp.ones(2, bool),
    )
    assert answer_of('pc', samples) == 1
    assert answer_of('pc of the sum', samples) == 0
    assert answer_of('perplexity', samples) == 1

  def test_when_all_paths_were_drawn_the_shares_are_the_law(self):
    draw = jax.jit(answer_world.random_world, static_argnums=(1, 2))
    world = draw(jax.random.key(3), 4, 5, path_spread=2.0)
    paths = jnp.tile(jnp.arange(20), 3)
    samples = answer_world.observe_paths(world, paths)
    weights = path_weights(
      samples.log_probs, first_copies(samples, jnp.ones(60, bool))
    )
    law = answer_world.answer_law(world, 4)
    np.testing.assert_allclose(
      search.answer_shares(samples.answers, weights),
      law[samples.answers],
      rtol=1e-5,
    )


@pytest.mark.parametrize('edge,power', [(1.0, 1.0), (1 / 3, 3.0)])
def test_what_a_probability_of_an_answer_is_worth(edge, power):
  """With logits of N(edge, edge^2): right by chance p^(1 / edge), of all."""
  draw = lambda key: answer_world.answer_law(
    answer_world.random_world(key, 3, 1, edge=edge, answer_spread=edge), 3
  )
  keys = jax.random.split(jax.random.key(0), 20_000)
  laws = np.asarray(jax.jit(jax.vmap(draw))(keys), np.float64)
  worth = laws**power / (laws**power).sum(axis=1, keepdims=True)
  # Answer 0 is right: over all answers, in bins of what each is worth.
  right = np.arange(3) == np.zeros((len(laws), 1))
  for low in (0.1, 0.3, 0.5, 0.7):
    inside = (worth > low) & (worth <= low + 0.2)
    error = right[inside].std() / np.sqrt(inside.sum())
    gap = right[inside].mean() - worth[inside].mean()
    assert abs(gap) < 4 * error, low


def test_ties_are_split_and_invalid_answers_have_no_share():
  answers = jnp.array([3, 3, 5, 5, 7, -1])
  shares = search.answer_shares(answers, jnp.array([1, 1, 1, 1, 1, 9.0]))
  np.testing.assert_allclose(shares, [0.4, 0.4, 0.4, 0.4, 0.2, 0], atol=1e-6)
  for gold, chance in ((3, 0.5), (5, 0.5), (7, 0), (-1, 0)):
    got = search.split_accuracy(answers, shares, jnp.int32(gold))
    np.testing.assert_allclose(got, chance)
  none = jnp.full(3, -1)
  shares = search.answer_shares(none, jnp.ones(3))
  assert float(search.split_accuracy(none, shares, jnp.int32(-1))) == 0
