"""What many prompts begin with is read once, and nothing else changes."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models, sampling
from ttc.kernels import block_topk
from ttc.models.published import TINY
from ttc.types import Prompt

STACKED = dataclasses.replace(TINY, scan_layers=True)
SPARSE = models.SparseAttention(
  block_topk.mean_pool, 4, 12, sink=1, local=4, dense_layers=(0,)
)
MODELS = {
  'dense': models.transformer(TINY),
  'stacked': models.transformer(STACKED),
  'sparse': models.transformer(TINY, SPARSE),
  'stacked and sparse': models.transformer(STACKED, SPARSE),
  'window': models.transformer(dataclasses.replace(TINY, sliding_window=6)),
  'table': models.table_model(TINY.vocab_size),
  'without cache': models.without_cache(
    lambda table, tokens: jnp.cumsum(table[tokens], axis=1),
    TINY.vocab_size,
    64,
    models.table_model(TINY.vocab_size).init,
  ),
}
STOP = sampling.stop_rules(TINY.vocab_size, [0])


@pytest.mark.parametrize(
  'name',
  [
    'dense',
    'stacked and sparse',
    'window',
    'table',
    'without cache',
    pytest.param('stacked', marks=pytest.mark.slow),
    pytest.param('sparse', marks=pytest.mark.slow),
  ],
)
def test_a_prompt_in_two_parts_is_the_prompt(name):
  """Logits behind it, and what is read behind it token by token."""
  model = MODELS[name]
  rng = np.random.default_rng(1)
  front, rest, more = (
    rng.integers(1, 32, shape).astype(np.int32)
    for shape in (21, (3, 9), (3, 2, 4))
  )
  lengths = np.array([9, 1, 4], np.int32)
  whole = np.concatenate([np.tile(front, (3, 1)), rest], axis=1)

  @jax.jit
  def run(key, front, rest, whole):
    params = model.init(key)

    def read(prompt, front):
      state = sampling.prefill(model, params, prompt, 2, 4, front=front)
      counts = jnp.full((3, 2), 4)
      return (
        state.prefix_lengths,
        state.prefix_logits,
        sampling.score_stepwise(model, params, state, more, counts),
      )

    return read(rest, models.read_front(model, params, front)), read(
      whole, None
    )

  got, wanted = run(
    jax.random.key(0),
    front,
    Prompt(jnp.asarray(rest), jnp.asarray(lengths)),
    Prompt(jnp.asarray(whole), jnp.asarray(lengths + 21, jnp.int32)),
  )
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), got, wanted
  )


def test_a_stream_reads_a_front_once_and_draws_the_same():
  """Prompts that begin otherwise, or are nothing more, are read whole."""
  read = []
  model = MODELS['dense']

  def features(params, inputs, num_tokens, cache):
    if cache.suffix is None:
      read.append(inputs.shape)
    return model.features(params, inputs, num_tokens, cache)

  counted = model._replace(features=features)
  params = jax.jit(model.init)(jax.random.key(0))
  rng = np.random.default_rng(3)
  front = rng.integers(1, 32, 150).tolist()
  more = [rng.integers(1, 32, n).tolist() for n in (3, 30, 7)]
  prompts = [front[:140] + more[0], more[1], front + more[2], front[:128]]
  problems = [
    sampling.Request(tokens, jax.random.key(i), [0, 1])
    for i, tokens in enumerate(prompts)
  ]

  def draw(front):
    return {
      index: drawn.tokens
      for index, drawn, _ in sampling.decode_stream(
        params,
        problems,
        model=counted,
        capacity=5,
        stop=STOP,
        num_slots=2,
        front=front,
      )
    }

  wanted = draw(())
  assert set(read) == {(2, 1, 256), (1, 1, 256), (1, 1, 128)}
  read.clear()
  got = draw(front)
  # The first 128, then 15 and 29 behind them; what begins otherwise, anew.
  assert read[0] == (1, 1, 128)
  assert set(read) == {read[0], (2, 1, 32), (2, 1, 128)}
  assert got.keys() == wanted.keys()
  for index, tokens in wanted.items():
    np.testing.assert_array_equal(got[index], tokens)


def test_what_cannot_be_read_behind_a_front_is_refused():
  model = MODELS['dense']
  params = jax.eval_shape(model.init, jax.random.key(0))
  front = models.Front((), jnp.zeros((), jnp.int32))
  prompt = Prompt(jnp.ones((1, 2), jnp.int32), jnp.full(1, 2))
  at_once = model._replace(join=None)
  with pytest.raises(ValueError, match='read behind a front'):
    sampling.prefill(at_once, params, prompt, 1, 1, front=front)
  shape = types.SimpleNamespace(num_experts=2)
  routes = models.no_override(
    types.SimpleNamespace(num_layers=2, experts=shape)
  )
  with pytest.raises(ValueError, match='routes are of whole prompts'):
    sampling.prefill(model, params, prompt, 1, 1, front=front, routes=routes)
  for tokens, says in (([], 'at least one'), ([1, 300], r'ids \[300\] of a f')):
    with pytest.raises(ValueError, match=says):
      models.read_front(model, params, jnp.array(tokens, jnp.int32))
