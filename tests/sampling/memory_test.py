"""Memory of the compiled decode loop against the two-segment formula."""

import functools

import jax
import jax.numpy as jnp
from absl.testing import absltest

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


def peak_bytes(num_samples):
  """Arguments, results and scratch of prefill and sample, without weights."""
  model = models.transformer(CONFIG)
  generate = functools.partial(
    sampling.generate,
    num_samples=num_samples,
    model=model,
    capacity=NEW,
    stop=sampling.stop_rules(64),
  )
  params = jax.eval_shape(model.init, jax.random.key(0))
  prompt = Prompt(
    jax.ShapeDtypeStruct((1, PROMPT), jnp.int32),
    jax.ShapeDtypeStruct((1,), jnp.int32),
  )
  keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
  compiled = jax.jit(generate).lower(params, keys, prompt).compile()
  memory = compiled.memory_analysis()
  used = (
    memory.temp_size_in_bytes
    + memory.argument_size_in_bytes
    + memory.output_size_in_bytes
  )
  return used - 4 * models.num_params(params)


class MemoryTest(absltest.TestCase):
  def test_two_segments(self):
    shape = scaling.ModelShape(
      num_params=0,
      num_layers=CONFIG.num_layers,
      num_heads=CONFIG.num_heads,
      num_kv_heads=CONFIG.num_kv_heads,
      head_dim=CONFIG.head_dim,
      bytes_per_element=4,
    )
    cache_bytes = functools.partial(
      scaling.kv_cache_bytes, shape, 1, SAMPLES, PROMPT, NEW
    )
    used = peak_bytes(SAMPLES)
    print(used, cache_bytes(), cache_bytes(shared_prompt=False), peak_bytes(32))


if __name__ == '__main__':
  absltest.main()
