"""Every verb on models with windows, caps, post-norms and bare layers.

The prompts are longer than the window, and responses leave it too.
"""

import functools
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling
from ttc.types import Prompt

B, N, CAPACITY = 3, 4, 14
BASE = dict(
  vocab_size=23,
  num_layers=2,
  embed_dim=16,
  mlp_dim=24,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
  max_length=64,
)
CONFIGS = {
  'gemma': models.TransformerConfig(
    **BASE,
    activation='gelu_tanh',
    norm_plus_one=True,
    post_norm=True,
    embed_scale=4.0,
    attention_scale=0.3,
    attention_softcap=4.0,
    final_softcap=6.0,
    sliding_window=4,
    windowed_layers=(0,),
    windowed_theta=100.0,
    rope_scaling=models.LinearScaling(2.0),
  ),
  'others': models.TransformerConfig(
    **BASE,
    pre_norm=False,
    post_norm=True,
    full_qk_norm=True,
    rotary_dim=4,
    rotary_layers=(1,),
    residual_scale=0.7,
    logits_divisor=0.8,
    rope_scaling=models.YarnScaling(4.0, 8),
    tie_embeddings=False,
    scan_layers=True,
  ),
}
PROMPT = Prompt(
  jax.random.randint(jax.random.key(1), (B, 9), 0, 23), jnp.array([9, 2, 6])
)
PROMPT_OF_2 = Prompt(*(x[:2] for x in PROMPT))
KEYS = jax.random.split(jax.random.key(2), B)
STOP = sampling.stop_rules(23, [0, 5])


@functools.cache
def made(name):
  """A model and parameters at which its texts vary."""
  config = CONFIGS[name]
  model = models.transformer(config)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: jnp.asarray(0.5 * rng.normal(size=x.shape), x.dtype),
    jax.eval_shape(model.init, jax.random.key(0)),
  )
  return model, params


def generate_from(model, params, keys, prompt, num_rows=None):
  run = functools.partial(
    sampling.generate,
    model=model,
    capacity=CAPACITY,
    stop=STOP,
    num_samples=N,
    num_rows=num_rows,
  )
  return jax.jit(run)(params, keys, prompt)


def assert_same(got, want):
  np.testing.assert_array_equal(got.tokens, want.tokens)
  np.testing.assert_array_equal(got.lengths, want.lengths)
  np.testing.assert_allclose(got.log_probs, want.log_probs, atol=1e-4)


ONE_QUICK = pytest.mark.parametrize(
  'name', ['gemma', pytest.param('others', marks=pytest.mark.slow)]
)


@ONE_QUICK
def test_samples_do_not_depend_on_their_company(name):
  model, params = made(name)
  whole = generate_from(model, params, KEYS, PROMPT)
  assert len(np.unique(whole.lengths)) > 3
  assert np.max(whole.lengths) > 6  # beyond the window
  at = lambda tree, i: jax.tree.map(lambda x: x[i], tree)
  second = slice(1, 2)
  alone = generate_from(model, params, KEYS[second], at(PROMPT, second))
  assert_same(alone, at(whole, second))
  refilled = generate_from(model, params, KEYS, PROMPT, num_rows=2)
  assert_same(refilled, whole)


@pytest.mark.slow
@pytest.mark.parametrize('name', CONFIGS)
def test_speculation_writes_what_the_target_writes(name):
  model, params = made(name)
  prefill = lambda: sampling.prefill(model, params, PROMPT, N, CAPACITY)
  greedy = sampling.SamplingParams(temperature=0.0)
  wanted = sampling.sample(
    model, params, KEYS, prefill(), STOP, sampling=greedy
  ).generation
  # Not the target's law, so some proposals are refused.
  noisy = jax.tree.map(
    lambda x: x + 0.1 * jax.random.normal(jax.random.key(7), x.shape), params
  )
  out = sampling.speculative_sample(
    model,
    model,
    params,
    noisy,
    KEYS,
    prefill(),
    sampling.prefill(model, noisy, PROMPT, N, CAPACITY),
    STOP,
    3,
    sampling=greedy,
  )
  assert_same(out.generation, wanted)


@ONE_QUICK
def test_extend_fork_and_score_are_the_forward_pass(name):
  model, params = made(name)
  T = 10
  tokens = jax.random.randint(jax.random.key(3), (B, N, T), 0, 23)
  rows = np.zeros((B, N, 9 + T), np.int32)
  lengths = np.asarray(PROMPT.lengths)
  for b, n in np.ndindex(B, N):
    row = np.concatenate([PROMPT.tokens[b, : lengths[b]], tokens[b, n]])
    rows[b, n, : len(row)] = row
  forward = jax.jit(models.forward, static_argnums=0)
  logits = forward(model, params, jnp.asarray(rows.reshape(B * N, -1)))
  log_probs = jax.nn.log_softmax(logits).reshape(B, N, 9 + T, -1)
  at = lengths[:, None, None] + np.arange(T) - 1
  expected = np.take_along_axis(
    np.asarray(log_probs), np.broadcast_to(at, (B, N, T))[..., None], axis=2
  )
  expected = np.take_along_axis(expected, tokens[..., None], axis=-1)[..., 0]

  state = sampling.prefill(model, params, PROMPT, N, CAPACITY)
  count = lambda n: jnp.full((B, N), n)
  got = jax.jit(sampling.score, static_argnums=0)(
    model, params, state, tokens, count(T)
  )
  np.testing.assert_allclose(got, expected, atol=1e-4)
  extend = jax.jit(sampling.extend, static_argnums=0)
  state = extend(model, params, state, tokens[..., :4], count(4))
  order = jnp.broadcast_to(jnp.array([2, 0, 3, 1]), (B, N))
  state = sampling.fork(model, state, order)
  moved = np.take_along_axis(np.asarray(tokens), order[..., None], axis=1)
  got = jax.jit(sampling.score, static_argnums=0)(
    model, params, state, jnp.asarray(moved[..., 4:]), count(T - 4)
  )
  np.testing.assert_allclose(
    got,
    np.take_along_axis(expected, np.asarray(order)[..., None], axis=1)[..., 4:],
    atol=1e-4,
  )


ON_A_MESH = """
  import jax, numpy as np
  import architectures_test as this
  from ttc import models

  for name in this.CONFIGS:
    model, params = this.made(name)
    one = this.generate_from(model, params, this.KEYS[:2], this.PROMPT_OF_2)
    mesh = jax.make_mesh(
      (2, 2), ('data', 'model'), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    spread = models.shard(params, mesh)
    batch = models.shard_batch((this.KEYS[:2], this.PROMPT_OF_2), mesh)
    four = this.generate_from(model, spread, *batch)
    assert len(four.tokens.sharding.device_set) == 4
    np.testing.assert_array_equal(four.tokens, one.tokens)
"""


@pytest.mark.slow
def test_one_and_four_devices():
  environment = os.environ | {
    'XLA_FLAGS': '--xla_force_host_platform_device_count=4',
    'JAX_PLATFORMS': 'cpu',
    'PYTHONPATH': os.pathsep.join([os.path.dirname(__file__), *sys.path]),
  }
  program = textwrap.dedent(ON_A_MESH)
  subprocess.run([sys.executable, '-c', program], check=True, env=environment)
