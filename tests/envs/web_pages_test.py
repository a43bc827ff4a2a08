"""The shop: what pages show, and the closed form of who looks on."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import envs
from ttc.envs.web_pages import (
  BACK,
  HELP_LINK,
  NUM_VALUES,
  SUBMIT,
  TYPE,
  WORDS,
  right_value,
)

ENV = envs.web_pages()
PARAMS = ENV.default_params
STEP = jax.jit(
  lambda s, a: ENV.step(jax.random.key(0), s, a[None], ENV.default_params)
)
RESET = jax.jit(lambda key: ENV.reset(key, PARAMS)[1])


def do(state, *actions):
  """The last step of several."""
  for action in actions:
    out = STEP(state, jnp.int32(action))
    state = out.state
  return out


def page(out):
  return [WORDS[int(t)] for t in out.obs[0] if int(t)]


class WebPagesTest(parameterized.TestCase):
  def test_a_visit(self):
    state = RESET(jax.random.key(3))._replace(
      locked=jnp.int32(1), code=jnp.int32(5), hint=jnp.int32(1)
    )
    asked = f'item {int(state.items[tuple(state.target)])}'
    out = do(state, 1)
    self.assertEqual(page(out)[0], 'form')
    self.assertEqual(page(do(out.state, 0))[0], 'form')  # nothing to click
    self.assertEqual(page(do(out.state, TYPE + 4))[0], 'form')
    out = do(out.state, BACK, HELP_LINK)
    self.assertEqual(page(out)[0], 'help')
    self.assertEqual(page(out)[-1], 'value 5')
    out = do(out.state, BACK, 1, TYPE + 5)
    self.assertEqual(page(out)[0], 'category')
    self.assertEqual(page(out)[1], asked)
    names = [f'item {i}' for i in np.asarray(state.items[1])]
    self.assertEqual(page(out)[-4:], names)
    out = do(out.state, 2)
    values = [f'value {v}' for v in np.asarray(state.values[1, 2])]
    self.assertEqual(page(out)[-4:], ['colour', values[0], 'size', values[1]])
    out = do(out.state, BACK, BACK)
    self.assertEqual(page(out)[0], 'home')
    self.assertEqual(page(out)[-1], 'category B')  # the hint

  def test_submitting_ends_it_and_only_the_right_value_pays(self):
    state = RESET(jax.random.key(0))
    value = int(right_value(state))
    for guess in range(NUM_VALUES):
      out = do(state, SUBMIT + guess)
      self.assertEqual(float(out.reward[0]), float(guess == value))
      self.assertTrue(out.terminated)
    last = state._replace(time=jnp.int32(15))
    self.assertTrue(do(last, BACK).truncated)
    self.assertFalse(do(last, SUBMIT).truncated)

  def test_the_hint_is_right_half_of_the_time_and_uniform_else(self):
    states = jax.jit(jax.vmap(RESET))(jax.random.split(jax.random.key(1), 6000))
    away = np.asarray((states.hint - states.target[:, 0]) % 4)
    share = np.bincount(away, minlength=4) / 6000
    np.testing.assert_allclose(share, [0.5, *[1 / 6] * 3], atol=0.02)
    sure = PARAMS._replace(hint_accuracy=1.0)
    keys = jax.random.split(jax.random.key(2), 100)
    _, states = jax.jit(jax.vmap(lambda k: ENV.reset(k, sure)))(keys)
    np.testing.assert_array_equal(states.hint, states.target[:, 0])


if __name__ == '__main__':
  absltest.main()
