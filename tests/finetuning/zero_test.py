"""A training spread over four devices, no matrix of which is there twice."""

import textwrap

PROGRAM = """
  import functools
  import jax, jax.numpy as jnp, numpy as np, optax
  from ttc import finetuning, models

  config = models.TransformerConfig(
    vocab_size=32, num_layers=2, embed_dim=16, mlp_dim=32, num_heads=4,
    num_kv_heads=4, head_dim=4, scan_layers=True)
  model, optimizer = models.transformer(config, remat=True), optax.adam(1e-2)
  tokens = jax.random.randint(jax.random.key(1), (4, 8), 0, 32)
  step = finetuning.make_train_step(
    lambda params, tokens: finetuning.next_token_loss(
      model, params, tokens, jnp.ones(tokens.shape, bool)), optimizer)
  init = functools.partial(finetuning.init_state, model.init, optimizer)
  state = jax.jit(init)(jax.random.key(0))

  mesh = jax.make_mesh(
    (2, 2), ('data', 'model'), axis_types=(jax.sharding.AxisType.Auto,) * 2)
  places = finetuning.state_shardings(
    state, optimizer, models.param_shardings(state.params, mesh, models.ZERO))
  spread = jax.tree.map(jax.device_put, state, places)
  run = jax.jit(step, out_shardings=(places, None), donate_argnums=0)
  rows = models.shard_batch(tokens, mesh)
  text = run.lower(spread, rows).compile().as_text()
  one = jax.jit(step)
  for _ in range(3):
    state, alone = one(state, tokens)
    spread, together = run(spread, rows)
  for x, y in zip(*map(jax.tree.leaves, ((state[:3], alone),
                                         (spread[:3], together)))):
    np.testing.assert_allclose(x, y, rtol=2e-3, atol=1e-5)

  # Of each matrix, and of its two moments, a device holds a quarter.
  leaves = jax.tree.leaves(spread[:2])
  matrices = [x for x in leaves if x.ndim > 1 and x.shape[-2] > 2]
  assert len(matrices) == 3 * 8
  own = sum(x.addressable_shards[0].data.nbytes for x in matrices)
  print(own / sum(x.nbytes for x in matrices), 'all-gather' in text)
"""


def test_moments_lie_as_parameters_and_layers_gather_theirs(on_four_devices):
  assert on_four_devices(textwrap.dedent(PROGRAM)) == '0.25 True'
