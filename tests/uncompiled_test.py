"""What NumPy does between programs has the bits that XLA would give it."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import uncompiled

# Where XLA may join operations, the last bit may be another.
pytestmark = pytest.mark.skipif(
  not os.environ.get('JAX_DISABLE_MOST_OPTIMIZATIONS'), reason='quick suite'
)
KEY = jax.random.key(7)


@pytest.fixture(autouse=True)
def by_numpy(monkeypatch):
  """Installed, as in the quick suite, and counting what is compiled."""
  pjit = pytest.importorskip('jax._src.pjit')
  monkeypatch.setattr(pjit, '_pjit_call_impl_python', _compiled(pjit))
  uncompiled.install()


COMPILED = []


def _compiled(pjit):
  real = pjit._pjit_call_impl_python

  def call(*args, **options):
    COMPILED.append(options['name'])
    return real(*args, **options)

  return call


def keys_and_draws(key):
  keys = jax.random.split(key, 3)
  yield from (keys, keys[1], keys[jnp.array([2, 0])], keys.reshape(1, 3))
  yield jax.random.split(key, (2, 2))
  yield jax.random.fold_in(key, 5)
  yield jax.random.bits(key, (3, 4))
  yield jax.random.uniform(key, (5, 3))
  yield jax.random.uniform(key, (5,), minval=-2.3, maxval=1.7)
  yield jax.random.randint(key, (7,), 0, 9)
  yield jax.random.bernoulli(key, 0.3, (9,))
  yield jax.random.permutation(key, 9)
  yield from (jax.random.normal(key, (9, 3)), jax.random.gumbel(key, (7,)))


def moves(x):
  i = jnp.array([2, 0, -1])
  yield from (x[1], x[:, 2:], x[i], x[i, i], x[::2, ::-1], x[..., None])
  yield from (x[:, i], x[9], x.T, x.reshape(2, -1), *jnp.split(x, 2, axis=1))
  yield from (x.at[1].set(3), x.at[i].add(1.5), x.at[:2].add(x[:2]))
  yield jnp.take_along_axis(x, jnp.argsort(x, axis=1), axis=1)
  yield from (jnp.sort(x, 0), jnp.flip(x, 1), jnp.tile(x, (2, 1)))
  yield from (jnp.stack([x, x], 1), jnp.concatenate([x, x]), *x)
  yield from (jnp.pad(x, ((1, 2), (0, 1))), jnp.roll(x, 1, 0))
  yield from (jnp.eye(4, k=-1), jnp.full((2, 3), 7), jnp.arange(3.0))
  yield jax.lax.dynamic_slice(x, (3, 1), (2, 2))


def numbers(x):
  n = jnp.array([-7, 7, 0, 2**31 - 1], jnp.int32)
  yield from (
    n + 1,
    n // 2,
    n // -3,
    n % 3,
    -n,
    n * n,
    jnp.abs(n),
    n >> 1,
    n / 2.0,
  )
  yield from (jnp.cumsum(n), n.sum(), n.argmax(), (n > 0).sum(), n.astype(bool))
  yield from (x.sum(), x.sum(0), x[:, :, None].sum((0, 2)), x.mean(1))
  yield from (x.max(), x.min(1), x.argmax(1), (x > 0).all(0), (x > 0).any())
  yield from (jnp.where(x > 0, x, 0), jnp.where(x > 0, 1, 0), ~(x > 0))
  yield from (jnp.clip(x, -0.5, 0.5), jnp.round(x), jnp.floor(x).astype(int))
  yield from (
    x + 1,
    3 - x,
    x * x,
    x**3,
    x**-2,
    x / (1 + jnp.abs(x)),
    jnp.sign(x),
  )
  yield from (jnp.sqrt(jnp.abs(x)), jnp.maximum(x, jnp.nan), jnp.isnan(x))
  yield from (jnp.exp(x), jnp.log(jnp.abs(x)), jnp.tanh(x), jax.nn.sigmoid(x))
  yield from (x.astype(jnp.bfloat16), x.astype(jnp.float16), n + True)


def bits(x):
  if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    x = jax.random.key_data(x)
  return np.asarray(x).tobytes()


@pytest.mark.parametrize(
  ('cases', 'most'), [(keys_and_draws, 2), (moves, 0), (numbers, 6)]
)
def test_it_has_the_bits_of_a_program(cases, most):
  x = KEY
  if cases is not keys_and_draws:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(4, 6)).astype(np.float32))
  whole = jax.jit(lambda x: list(cases(x)))(x)
  COMPILED.clear()
  for got, want in zip(cases(x), whole, strict=True):
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    assert got.aval.weak_type == want.aval.weak_type
    assert bits(got) == bits(want)
  assert len(COMPILED) <= most, COMPILED


@pytest.mark.parametrize(
  ('shape', 'axes'),
  [((100,), (0,)), ((17, 40), (0, 1)), ((3, 64, 5), (1,)), ((40, 48), (0, 1))],
)
def test_long_sums_are_added_up_as_in_a_program(shape, axes):
  x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  want = jax.jit(lambda x: x.sum(axes))(x)
  COMPILED.clear()
  assert bits(jnp.asarray(x).sum(axes)) == bits(want)
  assert not COMPILED


def test_what_is_compiled_by_name_is_compiled():
  COMPILED.clear()
  jax.jit(lambda x: x + 1)(np.float32(1))
  assert COMPILED == ['<lambda>']
  assert jnp.dot(jnp.ones(11), jnp.ones(11)) == 11
  assert COMPILED == ['<lambda>', 'dot']


def test_arrays_that_were_placed_stay_where_they_are():
  x = jax.device_put(np.ones(3, np.float32), jax.devices()[0])
  assert x.committed and (x + x).committed and not (jnp.ones(3) + 1).committed
