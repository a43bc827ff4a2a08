"""Which blocks hold one of the first or last tokens, against their tokens."""

import itertools

import jax.numpy as jnp
import numpy as np

from ttc.kernels.block_topk import always_read


def test_against_the_tokens_of_each_block():
  size, start = 4, np.arange(0, 12, 4)
  for sink, local, length in itertools.product(range(9), (1, 3, 4, 5), (9, 12)):
    stop = np.minimum(start + size, length)
    got = always_read(
      jnp.asarray(start), jnp.asarray(stop), jnp.int32(length), sink, local
    )
    want = [
      any(t < sink or t >= length - local for t in range(a, b))
      for a, b in zip(start, stop, strict=True)
    ]
    np.testing.assert_array_equal(got, want, f'{sink=} {local=} {length=}')
