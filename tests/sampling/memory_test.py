"""Memory of the compiled decode loop against the two-segment formula."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import models, sampling, scaling
from ttc.types import Prompt

CONFIG = models.TransformerConfig(
  vocab_size=64,
  num_layers=4,
  embed_dim=64,
  mlp_dim=128,
  num_heads=4,
  num_kv_heads=2,
  head_dim=32,
)
SAMPLES, PROMPT, NEW = 64, 2048, 128


SHAPE = scaling.ModelShape(
  num_params=0,
  num_layers=CONFIG.num_layers,
  num_heads=CONFIG.num_heads,
  num_kv_heads=CONFIG.num_kv_heads,
  head_dim=CONFIG.head_dim,
  bytes_per_element=4,
)
cache_bytes = functools.partial(scaling.kv_cache_bytes, SHAPE, 1)


class MemoryTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.model = models.transformer(CONFIG)
    key = jax.random.key(0)
    self.keys = jax.eval_shape(lambda: jax.random.split(key, 1))
    self.params = jax.eval_shape(self.model.init, key)
    self.prompt = Prompt(
      jax.ShapeDtypeStruct((1, PROMPT), jnp.int32),
      jax.ShapeDtypeStruct((1,), jnp.int32),
    )
    self.stop = sampling.stop_rules(CONFIG.vocab_size)

  def test_sample_holds_two_segments(self):
    model = self.model
    state = jax.eval_shape(
      lambda params, prompt: sampling.prefill(
        model, params, prompt, SAMPLES, NEW
      ),
      self.params,
      self.prompt,
    )
    sample = lambda params, keys, state: sampling.sample(
      model, params, keys, state, self.stop
    )
    jitted = jax.jit(sample, donate_argnums=2)
    compiled = jitted.lower(self.params, self.keys, state).compile()
    memory = compiled.memory_analysis()
    weights = 4 * models.num_params(self.params)
    arguments = memory.argument_size_in_bytes - weights

    two_segments = cache_bytes(SAMPLES, PROMPT, NEW)
    np.testing.assert_allclose(arguments, two_segments, rtol=0.01)
    # The donated state is updated in place; logits, responses and the scratch
    # of a step come to less than a third of it.
    np.testing.assert_allclose(
      memory.alias_size_in_bytes, two_segments, rtol=0.01
    )
    self.assertLess(memory.temp_size_in_bytes, two_segments / 3)
    naive = cache_bytes(SAMPLES, PROMPT, NEW, shared_prompt=False)
    self.assertLess(arguments + memory.temp_size_in_bytes, naive / 10)

  @parameterized.parameters(
    {'dtype': 'bfloat16'}, {'quantization': 'int8'}, {'quantization': 'w8a8'}
  )
  def test_one_row_is_decoded_from_weights_as_they_are(self, **changes):
    """A compiler that makes float32 of them needs room for what they are."""
    wide = dataclasses.replace(
      CONFIG, num_layers=2, embed_dim=128, mlp_dim=512, vocab_size=2048
    )
    model = models.transformer(dataclasses.replace(wide, **changes))
    params = jax.eval_shape(model.init, jax.random.key(0))
    prompt = Prompt(
      jax.ShapeDtypeStruct((1, 8), jnp.int32),
      jax.ShapeDtypeStruct((1,), jnp.int32),
    )
    stop = sampling.stop_rules(2048)
    generate = functools.partial(
      sampling.generate, num_samples=1, model=model, capacity=8, stop=stop
    )
    compiled = jax.jit(generate).lower(params, self.keys, prompt).compile()
    temporary = compiled.memory_analysis().temp_size_in_bytes
    self.assertLess(temporary, models.num_params(params) / 2)

  @pytest.mark.slow
  def test_prefill_and_sample_grow_by_the_suffixes_only(self):
    more, fewer = self.peak_bytes(SAMPLES), self.peak_bytes(SAMPLES // 2)
    growth = cache_bytes(SAMPLES, 0, NEW) - cache_bytes(SAMPLES // 2, 0, NEW)
    np.testing.assert_allclose(more - fewer, growth, rtol=0.05)
    # What does not grow is mostly the attention logits of the prefill.
    naive = cache_bytes(SAMPLES, PROMPT, NEW, shared_prompt=False)
    self.assertLess(more, naive / 4)

  def peak_bytes(self, num_samples):
    """Arguments, results and scratch of prefill and sample, less weights."""
    generate = functools.partial(
      sampling.generate,
      num_samples=num_samples,
      model=self.model,
      capacity=NEW,
      stop=self.stop,
    )
    arguments = self.params, self.keys, self.prompt
    memory = jax.jit(generate).lower(*arguments).compile().memory_analysis()
    used = (
      memory.temp_size_in_bytes
      + memory.argument_size_in_bytes
      + memory.output_size_in_bytes
    )
    return used - 4 * models.num_params(self.params)


if __name__ == '__main__':
  absltest.main()
