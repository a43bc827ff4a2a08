"""The meta-gradient is exact, and so is the inner loop of a quadratic."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import absltest, parameterized
from jax.flatten_util import ravel_pytree

from ttc import metarl
from ttc.metarl.maml import Meta, Task

KEY = jax.random.key(0)


def net(params, x):
  hidden = jnp.tanh(x[:, None] * params['in'] + params['bias'])
  return hidden @ params['out']


def init_net(key, width):
  keys = jax.random.split(key, 3)
  return {
    'in': jax.random.normal(keys[0], (width,)),
    'bias': jax.random.normal(keys[1], (width,)),
    'out': jax.random.normal(keys[2], (width,)) / width**0.5,
  }


def squares(params, data):
  x, y = data
  return jnp.mean((net(params, x) - y) ** 2)


def smoothness(params, x):
  """An inner loss of another kind, that needs no labels."""
  return jnp.mean(net(params, x) ** 4)


def sinusoid(key, num=10):
  """Amplitude, phase and points as in 1703.03400, section 5.1."""
  keys = jax.random.split(key, 3)
  amplitude = jax.random.uniform(keys[0], (), minval=0.1, maxval=5.0)
  phase = jax.random.uniform(keys[1], (), maxval=jnp.pi)
  x = jax.random.uniform(keys[2], (2, num), minval=-5.0, maxval=5.0)
  y = amplitude * jnp.sin(x - phase)
  return Task((x[0], y[0]), (x[1], y[1]))


def relative(a, b):
  a, b = ravel_pytree(a)[0], ravel_pytree(b)[0]
  return float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))


class GradientTest(parameterized.TestCase):
  @parameterized.parameters(1, 3)
  def test_it_is_that_of_finite_differences(self, num_steps):
    """Of params and of each leaf's rate, with two different losses."""
    with jax.enable_x64(True):
      params = jax.tree.map(jnp.float64, init_net(KEY, 3))
      rates = {'in': 0.11, 'bias': 0.07, 'out': 0.05}
      meta = Meta(params, jax.tree.map(jnp.float64, rates))
      x = jnp.linspace(-1.0, 1.0, 5)
      task = Task(x, (x + 0.3, jnp.sin(3 * x)))
      loss = lambda meta: metarl.meta_loss(
        meta, task, smoothness, squares, num_steps
      )
      flat, unravel = ravel_pytree(meta)
      value = jax.jit(lambda flat: loss(unravel(flat)))
      h = 1e-5
      ends = jax.vmap(lambda e: value(flat + h * e) - value(flat - h * e))
      differences = ends(jnp.eye(flat.size)) / (2 * h)
      exact = jax.jit(jax.grad(value))(flat)
      np.testing.assert_allclose(exact, differences, rtol=1e-5, atol=1e-9)
      first = jax.jit(
        jax.grad(
          lambda meta: metarl.meta_loss(
            meta, task, smoothness, squares, num_steps, first_order=True
          )
        )
      )(meta)
      self.assertGreater(relative(first.params, unravel(exact).params), 1e-2)
      if num_steps == 1:  # rates enter once, not through later gradients
        self.assertLess(relative(first.rates, unravel(exact).rates), 1e-6)

  def test_the_first_order_one_is_its_limit(self):
    """As the rate goes to 0, in proportion to it."""
    params, task = init_net(KEY, 3), sinusoid(KEY)

    def both(params, rate):
      loss = lambda params, first: metarl.meta_loss(
        Meta(params, rate), task, squares, squares, 2, first_order=first
      )
      return jax.grad(loss)(params, True), jax.grad(loss)(params, False)

    both = jax.jit(both)
    gaps = [relative(*both(params, rate)) for rate in (1e-2, 1e-3)]
    self.assertLess(gaps[1], 0.05)
    np.testing.assert_allclose(gaps[0] / gaps[1], 10.0, rtol=0.5)


class AdaptTest(absltest.TestCase):
  def test_a_quadratic_loss_has_a_closed_form(self):
    """Steps are `theta - alpha H theta`, with a rate for each leaf."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 5)).astype(np.float32)
    H = root @ root.T / 5
    params = {'a': jnp.arange(1.0, 3.0), 'b': jnp.array([0.5, -1.0, 2.0])}

    def loss(params, H):
      theta = jnp.concatenate([params['a'], params['b']])
      return 0.5 * theta @ H @ theta

    rates = np.array([0.1, 0.1, 0.03, 0.03, 0.03])
    expected = np.array([1.0, 2.0, 0.5, -1.0, 2.0])
    for num_steps in (1, 4):
      got = metarl.adapt(params, loss, H, {'a': 0.1, 'b': 0.03}, num_steps)
      power = np.linalg.matrix_power(np.eye(5) - rates[:, None] * H, num_steps)
      np.testing.assert_allclose(
        jnp.concatenate([got['a'], got['b']]), power @ expected, rtol=1e-5
      )

  def test_a_mask_chooses_segments(self):
    params = init_net(KEY, 3)
    tasks = jax.jit(jax.vmap(sinusoid))(jax.random.split(KEY, 4))
    mask = jnp.array([True, False, False, True])
    adapt = lambda data, mask: metarl.adapt(
      params, squares, data, 0.01, 2, mask
    )
    some = jax.jit(jax.vmap(adapt))(tasks.support, mask)
    every = jax.jit(jax.vmap(adapt))(tasks.support, jnp.ones(4, bool))
    for i in range(4):
      one = jax.tree.map(lambda x, i=i: x[i], some)
      whole = jax.tree.map(lambda x, i=i: x[i], every)
      chex.assert_trees_all_equal(one, whole if mask[i] else params)

  def test_batches_that_devices_cannot_share(self):
    with self.assertRaisesRegex(ValueError, 'num_tasks=0, expected a mul'):
      metarl.maml(squares, squares, sinusoid, optax.sgd(0.1), 0)


@pytest.mark.slow
@pytest.mark.parametrize('learn_rates', [False, True])
def test_ten_points_of_a_sinusoid_are_enough(learn_rates):
  """Learned rates make one step enough; without meta-training none is."""
  method = metarl.maml(
    squares,
    squares,
    sinusoid,
    optax.adam(3e-3),
    num_tasks=25,
    learn_rates=learn_rates,
  )
  start = method.init(init_net(KEY, 64), KEY)
  step = lambda state, _: (method.update(state)[0], None)
  run = jax.jit(lambda state: jax.lax.scan(step, state, length=6000)[0])
  tasks = jax.jit(jax.vmap(sinusoid))(jax.random.split(jax.random.key(1), 500))

  def losses(meta, num_steps):
    each = lambda task: metarl.meta_loss(
      meta, task, squares, squares, num_steps
    )
    return float(jnp.mean(jax.jit(jax.vmap(each))(tasks)))

  meta = run(start).meta
  enough = 1 if learn_rates else 5
  assert losses(meta, enough) < 0.5 * losses(meta, 0)
  assert losses(meta, enough) < 0.5 * losses(start.meta, 5)
  assert not learn_rates or losses(meta, 1) < 0.25 * losses(meta, 0)
  rates = {float(x) for x in jax.tree.leaves(meta.rates)}
  assert (len(rates) > 1) == learn_rates


_DEVICES = """
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import AxisType
from ttc import metarl
def loss(params, data):
  x, y = data
  return jnp.mean((jnp.tanh(x[:, None] * params[0]) @ params[1] - y) ** 2)
def sample(key):
  x = jax.random.normal(key, (2, 5))
  return metarl.Task((x[0], jnp.sin(x[0])), (x[1], jnp.sin(x[1])))
ends = []
for n in (1, 4):
  mesh = jax.make_mesh((n,), ('data',), axis_types=(AxisType.Auto,),
                       devices=jax.devices()[:n])
  method = metarl.maml(loss, loss, sample, optax.adam(1e-2), 8, 2, rate=0.1,
                       learn_rates=True, mesh=mesh)
  state = method.init((jnp.ones(3), jnp.ones(3)), jax.random.key(0))
  for _ in range(3):
    state, told = jax.jit(method.update)(state)
  ends.append((state.meta, told))
for a, b in zip(*map(jax.tree.leaves, ends)):
  np.testing.assert_allclose(a, b, atol=1e-5)
print('equal')
"""


@pytest.mark.slow
def test_one_device_is_four(on_four_devices):
  assert on_four_devices(_DEVICES) == 'equal'


if __name__ == '__main__':
  absltest.main()
