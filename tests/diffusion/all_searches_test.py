"""What every search over noise promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import diffusion
from ttc.diffusion import mixtures, samplers
from ttc.sampling.refinement_loop import Verdict

T, D = 4, 2  # steps, dimensions
MIX = mixtures.draw_mixture(jax.random.key(3), 3, D, spread=1.0, scale=0.4)
AXIS = jnp.array([0.8, 0.6], jnp.float32)
SCHEDULE = diffusion.cosine(T)
EVERY_STEP = jnp.ones(T, bool)


def reward(x):
  return x.reshape(x.shape[0], -1, D).mean(axis=1) @ AXIS


def verdicts(verifier):
  """Redraw what is negative, or both where the reward is low."""

  def verify(keys, x):
    del keys
    scores = verifier(x)
    return Verdict(scores > 1.0, scores, x < 0.5)

  return verify


def tree(key, sampler, verifier, number):
  del number
  plan = diffusion.Plan((2, 1), (2, 2), (1, None), 2)
  return diffusion.tree_of_frames(
    key,
    lambda videos, depth: sampler,
    lambda x0, videos, depth: verifier(x0),
    lambda videos, num_units: verifier(videos),
    (D,),
    plan,
  )


# `(key, sampler, verifier, number)`; the number is traced.
SEARCHES = {
  'best_of_n': lambda k, s, v, z: diffusion.best_of_n(k, s, v, 3),
  'random_search': lambda k, s, v, z: diffusion.random_search(k, s, v, 2, 3),
  'zero_order': lambda k, s, v, z: diffusion.zero_order_search(
    k, s, v, 3, 2, radius=z
  ),
  'paths': lambda k, s, v, z: diffusion.search_over_paths(
    k, s, v, 2, 2, start=2, back=1, forth=2
  ),
  'svdd': lambda k, s, v, z: diffusion.svdd(k, s, v, 2, 3, temperature=z),
  'fk': lambda k, s, v, z: diffusion.fk_steering(
    k, s, v, 4, EVERY_STEP, strength=z, threshold=0.9
  ),
  'evosearch': lambda k, s, v, z: diffusion.evosearch(
    k, s, v, (0, 2), (4, 3, 3), 2, mutation_rate=z
  ),
  'renoise': lambda k, s, v, z: diffusion.evosearch(
    k, s, v, (0, 3), (4, 3, 3), 2, mutation_rate=z, mutation='renoise'
  ),
  'refinement': lambda k, s, v, z: diffusion.sequential_refinement(
    k, s, verdicts(v), 3, 2, start=1
  ),
  'tree': tree,
}
EVERY = [(name, name) for name in SEARCHES]
CALLS = {'network': 0, 'verifier': 0}


def count(name, rows):
  CALLS[name] += rows


def counted(name, fn):
  """The function, and how many rows it is really called with."""

  def call(x, *others):
    jax.debug.callback(functools.partial(count, name, x.shape[0]))
    return fn(x, *others)

  return call


def run(name, key, number, verifier=reward, counting=False, eta=1.0):
  wrap = counted if counting else lambda _, fn: fn
  denoiser = functools.partial(mixtures.posterior_mean, MIX)
  sampler = diffusion.ddim(wrap('network', denoiser), SCHEDULE, (D,), eta=eta)
  return SEARCHES[name](key, sampler, wrap('verifier', verifier), number)


def refusing(limit):
  """NaN for what is too good."""
  return lambda x: jnp.where(reward(x) > limit, jnp.nan, reward(x))


@functools.cache
def program(name):
  """Compiled once; counts its calls and its traces."""
  traces = []

  @jax.jit
  def compiled(key, number, eta, limit):
    traces.append(name)
    return run(name, key, number, refusing(limit), True, eta)

  return compiled, traces


def find(name, key, number=0.5, eta=1.0, limit=np.inf):
  return program(name)[0](key, number, eta, limit)


class EverySearchTest(parameterized.TestCase):
  @parameterized.named_parameters(EVERY)
  def test_costs_are_what_is_called(self, name):
    CALLS.update(network=0, verifier=0)
    found = find(name, jax.random.key(0))
    jax.effects_barrier()
    if name == 'refinement':  # what is done is computed on, and not counted
      self.assertLessEqual(int(found.nfe), CALLS['network'])
      self.assertLessEqual(int(found.verifier_calls), CALLS['verifier'])
      return
    self.assertEqual(int(found.nfe), CALLS['network'])
    self.assertEqual(int(found.verifier_calls), CALLS['verifier'])

  @parameterized.named_parameters(EVERY)
  def test_the_best_is_the_best_of_its_population(self, name):
    found = jax.device_get(find(name, jax.random.key(1)))
    np.testing.assert_allclose(
      found.rewards, reward(found.population), rtol=1e-5, atol=1e-6
    )
    best = found.population[np.argmax(found.rewards)]
    np.testing.assert_array_equal(found.best, best)

  @parameterized.named_parameters(EVERY)
  def test_compiles_once(self, name):
    find(name, jax.random.key(0), 0.5, 1.0, 9.0)
    find(name, jax.random.key(1), 0.1, 0.3, 8.0)
    self.assertLen(program(name)[1], 1)

  @parameterized.named_parameters(EVERY)
  def test_what_is_not_a_number_does_not_win(self, name):
    found = find(name, jax.random.key(4), limit=0.8)
    kept = np.asarray(found.rewards)
    if np.isnan(kept).any():
      with self.assertRaisesRegex(ValueError, 'rewards are NaN'):
        diffusion.refuse_nan(found)
    if not np.isnan(kept).all():
      best = reward(found.best[None])[0]
      self.assertAlmostEqual(float(best), np.nanmax(kept), places=5)

  @parameterized.named_parameters(EVERY)
  def test_refuses_a_verifier_of_another_shape(self, name):
    with self.assertRaisesRegex(ValueError, r'the verifier returned shape'):
      jax.eval_shape(
        lambda key: run(name, key, 0.5, lambda x: reward(x)[:, None]),
        jax.random.key(0),
      )


@pytest.mark.slow
class SideBySideTest(parameterized.TestCase):
  @parameterized.named_parameters(EVERY)
  def test_seeds_side_by_side_are_seeds_one_by_one(self, name):
    keys = jax.random.split(jax.random.key(2), 2)
    one_by_one = [find(name, key) for key in keys]
    together = jax.jit(jax.vmap(lambda key: run(name, key, 0.5)))(keys)
    jax.tree.map(
      lambda a, *b: np.testing.assert_allclose(
        a, np.stack(b), rtol=1e-4, atol=1e-5
      ),
      together,
      *one_by_one,
    )


@functools.cache
def borders():
  """Searches at a border of what they are, by one program."""
  denoiser = functools.partial(mixtures.posterior_mean, MIX)
  key = jax.random.key(5)

  def run():
    make = functools.partial(diffusion.ddim, denoiser, SCHEDULE)
    stochastic, ode = make((D,)), make((D,), eta=0.0)
    plain = lambda sampler, num: samplers.draw(
      sampler, samplers.particle_keys(key, num)
    )
    return {
      'plain': plain(stochastic, 6),
      'ode': plain(ode, 5),
      'rounds': diffusion.random_search(key, stochastic, reward, 2, 3),
      'once': diffusion.best_of_n(key, stochastic, reward, 6),
      'evosearch': diffusion.evosearch(key, stochastic, reward, (), (4,)),
      'svdd': diffusion.svdd(key, stochastic, reward, 3, 1),
      'fk': diffusion.fk_steering(
        key, stochastic, reward, 4, EVERY_STEP, strength=0.0, threshold=0.5
      ),
      'paths': diffusion.search_over_paths(
        key, ode, reward, 3, 1, start=2, back=0, forth=1
      ),
      'zero_order': diffusion.zero_order_search(
        key, ode, reward, 3, 2, radius=1.0
      ),
      'refinement': diffusion.sequential_refinement(
        key, stochastic, verdicts(reward), 3, 0
      ),
    }

  return jax.jit(run)()


class IdentitiesTest(parameterized.TestCase):
  def test_rounds_are_one_round(self):
    rounds, once = borders()['rounds'], borders()['once']
    np.testing.assert_allclose(rounds.best, once.best, atol=1e-5)
    self.assertEqual(int(rounds.nfe), int(once.nfe))
    top = np.sort(once.rewards)[::-1][:2]
    np.testing.assert_allclose(rounds.rewards, top, atol=1e-5)

  @parameterized.parameters('once', 'evosearch', 'svdd', 'fk')
  def test_is_the_plain_sampler(self, name):
    """One generation, one candidate, or no strength."""
    found = borders()[name]
    num = found.population.shape[0]
    plain = borders()['plain'][:num]
    np.testing.assert_allclose(found.population, plain, atol=2e-5)
    self.assertEqual(int(found.nfe), num * T)

  def test_one_branch_and_no_way_back_is_the_plain_sampler(self):
    ours = np.sort(borders()['paths'].population, axis=0)
    plain = np.sort(borders()['ode'][:3], axis=0)
    np.testing.assert_allclose(ours, plain, atol=2e-5)

  def test_the_largest_radius_is_best_of_n(self):
    found, ode = borders()['zero_order'], borders()['ode']
    best = ode[np.argmax(reward(ode))]
    np.testing.assert_allclose(found.best, best, atol=2e-5)
    # Of the last round: its pivot, and the last two of five.
    np.testing.assert_allclose(found.population[1:], ode[3:], atol=2e-5)
    self.assertEqual(int(found.nfe), 5 * T)

  def test_no_edits_cost_nothing(self):
    found = borders()['refinement']
    self.assertEqual(int(found.nfe), 3 * T)
    self.assertEqual(int(found.verifier_calls), 3)


class BadInputTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('nobody', lambda k, s: diffusion.best_of_n(k, s, reward, 0),
     'num_samples=0'),
    ('alone', lambda k, s: diffusion.zero_order_search(k, s, reward, 1, 2),
     'num_candidates=1'),
    ('elites', lambda k, s: diffusion.evosearch(
      k, s, reward, (0,), (8, 3), 5), 'smaller than its num_elites=5'),
    ('sizes', lambda k, s: diffusion.evosearch(
      k, s, reward, (0,), (8, 8, 8)), '1 to 2 sizes'),
    ('points', lambda k, s: diffusion.evosearch(
      k, s, reward, (0, T), (8, 8, 8)), 'must start at 0'),
    ('mutation', lambda k, s: diffusion.evosearch(
      k, s, reward, (0,), (8, 8), mutation='none'), "mutation='none'"),
    ('rounds', lambda k, s: diffusion.search_over_paths(
      k, s, reward, 2, 2, start=1, back=1, forth=3), 'do not lead'),
    ('back', lambda k, s: diffusion.search_over_paths(
      k, s, reward, 2, 2, start=1, back=2, forth=3), '0 <= back'),
    ('potential', lambda k, s: diffusion.fk_steering(
      k, s, reward, 4, EVERY_STEP, potential='sum'), "potential='sum'"),
    ('resampling', lambda k, s: diffusion.fk_steering(
      k, s, reward, 4, EVERY_STEP, resampling='no'), "resampling='no'"),
    ('mask', lambda k, s: diffusion.fk_steering(
      k, s, reward, 4, EVERY_STEP[1:]), 'resample_at has shape'),
    ('candidates', lambda k, s: diffusion.svdd(k, s, reward, 2, 0),
     'num_candidates=0'),
    ('start', lambda k, s: diffusion.sequential_refinement(
      k, s, verdicts(reward), 2, start=T), f'below the {T} steps'),
    ('align', lambda k, s: diffusion.align(k, s, jnp.zeros((1, D)), T),
     'start=4'),
    ('factor', lambda k, s: diffusion.align(
      k, s, jnp.zeros((1, D)), 1, factor=4), 'factor=4'),
  )  # fmt: skip
  def test_is_one_line(self, search, message):
    denoiser = functools.partial(mixtures.posterior_mean, MIX)
    sampler = diffusion.ddim(denoiser, SCHEDULE, (D,))
    with self.assertRaisesRegex(ValueError, message) as caught:
      jax.eval_shape(lambda key: search(key, sampler), jax.random.key(0))
    self.assertNotIn('\n', str(caught.exception))


_DEVICES = """
import re
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType
from ttc import diffusion
from ttc.diffusion import mixtures
mix = mixtures.draw_mixture(jax.random.key(0), 3, 2)
sampler = diffusion.ddim(
  lambda x, level: mixtures.posterior_mean(mix, x, level),
  diffusion.cosine(4), (2,))
mesh = jax.make_mesh((4,), ('particles',), axis_types=(AxisType.Auto,))
spread = diffusion.spread_particles(sampler, mesh)
reward = lambda x: x[:, 0]
every = jnp.ones(4, bool)
for search in (
  lambda key, s: diffusion.best_of_n(key, s, reward, 8),
  lambda key, s: diffusion.fk_steering(key, s, reward, 8, every),
  lambda key, s: diffusion.svdd(key, s, reward, 4, 3),
):
  one, four = (
    jax.jit(lambda key: search(key, s))(jax.random.key(1))
    for s in (sampler, spread))
  for a, b in zip(one, four):
    np.testing.assert_allclose(a, b, atol=1e-5)
run = jax.jit(lambda key: diffusion.best_of_n(key, spread, reward, 64).best)
program = run.lower(jax.random.key(1)).compile().as_text()
sent = re.findall(r'(\\S+)\\[([\\d,]*)\\]\\S* all-(?:gather|reduce)', program)
sizes = [np.prod([int(n) for n in size.split(',') if n]) for _, size in sent]
assert sizes and max(sizes) <= 4, sent  # a reward of each device, a sample
try:
  diffusion.best_of_n(jax.random.key(0), spread, reward, 6)
except ValueError as error:
  print(error)
"""


@pytest.mark.slow
def test_particles_are_spread_over_devices(on_four_devices):
  says = '6 particles do not divide among 4 devices'
  assert on_four_devices(_DEVICES) == says


if __name__ == '__main__':
  absltest.main()
