"""Mixtures of experts: their law, their products, and what overrides them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models
from ttc.models import expert_products, experts, mixture

E, K, L = 6, 2, 2
SPARSE = models.Experts(E, K, 10, normalise=True)
CONFIG = models.TransformerConfig(
  vocab_size=23,
  num_layers=L,
  embed_dim=12,
  mlp_dim=14,
  num_heads=2,
  num_kv_heads=1,
  head_dim=6,
  experts=SPARSE,
)
TOKENS = jax.random.randint(jax.random.key(0), (2, 7), 0, 23)


@functools.cache
def make(config=CONFIG, **options):
  model = models.transformer(config, **options)
  shapes = jax.eval_shape(model.init, jax.random.key(0))
  rng = np.random.default_rng(1)
  draw = lambda leaf: jnp.asarray(0.5 * rng.normal(size=leaf.shape), leaf.dtype)
  return model, jax.tree.map(draw, shapes)


def with_experts(**changes):
  return dataclasses.replace(
    CONFIG, experts=dataclasses.replace(SPARSE, **changes)
  )


@functools.partial(jax.jit, static_argnums=0)
def forward(model, params, tokens, override=None):
  features, routing = models.read_routed(
    model, params, tokens, override=override
  )
  return model.logits(params, features), routing


@functools.partial(jax.jit, static_argnums=0)
def plain_forward(model, params, tokens):
  return models.forward(model, params, tokens)


def silu(x):
  return x / (1 + np.exp(-x))


def by_hand(e, p, h):
  """One mixture, token by token."""
  logits = h @ p['router']['kernel'].T
  law = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  y = np.zeros_like(h)
  for t in np.ndindex(h.shape[:-1]):
    ids = np.argsort(-law[t])[: e.top_k]
    total = law[t][ids].sum() if e.normalise else 1.0
    for i in ids:
      inner = silu(h[t] @ p['gates'][i]) * (h[t] @ p['ups'][i])
      y[t] += law[t][i] / total * (inner @ p['downs'][i])
    if e.shared_mlp_dim:
      w = {name: p['shared'][name]['kernel'] for name in ('gate', 'up', 'down')}
      inner = silu(w['gate'] @ h[t]) * (w['up'] @ h[t])
      gate = p['shared_gate']['kernel'] @ h[t]
      y[t] += w['down'] @ inner / (1 + np.exp(-gate))
  return y


@pytest.mark.parametrize('normalise', [True, False])
def test_a_mixture_is_what_it_is_by_hand(normalise):
  e = dataclasses.replace(SPARSE, normalise=normalise, shared_mlp_dim=5)
  module = mixture.Mixture(e)
  rng = np.random.default_rng(2)
  x = rng.normal(size=(2, 1, 4, 12)).astype(np.float32)
  shapes = jax.eval_shape(module.init, jax.random.key(0), x, None)['params']
  params = jax.tree.map(lambda s: rng.normal(size=s.shape) / 2, shapes)
  y, routed = jax.jit(module.apply)({'params': params}, x, None)
  np.testing.assert_allclose(y, by_hand(e, params, x), rtol=2e-3, atol=2e-3)
  assert routed.logits.dtype == jnp.float32


@pytest.mark.parametrize('num_rows', [1, 33])
def test_all_products_are_the_dense_ones(num_rows):
  rng = np.random.default_rng(num_rows)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  kernels = expert_products.Kernels(
    draw(E, 12, 5) / 4, draw(E, 12, 5) / 4, draw(E, 5, 12) / 4
  )
  x, logits = draw(num_rows, 12), draw(num_rows, E)
  chosen = experts.choose(SPARSE, logits)

  def loss(implementation, kernels, x, weights):
    sums = mixture.mix(
      kernels, x, chosen._replace(weights=weights), implementation
    )
    return jnp.sum(jnp.sin(sums)), sums

  grad = jax.jit(jax.grad(loss, (1, 2, 3), has_aux=True), static_argnums=0)
  mix = jax.jit(mixture.mix, static_argnums=3)
  close = functools.partial(np.testing.assert_allclose, atol=3e-5)
  wanted = grad('dense', kernels, x, chosen.weights)
  for name in expert_products.IMPLEMENTATIONS:
    np.testing.assert_allclose(
      mix(kernels, x, chosen, name), wanted[1], atol=3e-5
    )
    jax.tree.map(close, grad(name, kernels, x, chosen.weights), wanted)
    each = jax.vmap(functools.partial(grad, name), (None, 0, 0))
    got = each(kernels, jnp.stack([x, -x]), jnp.stack([chosen.weights] * 2))
    jax.tree.map(lambda a, b: close(a[0], b), got, wanted)


def test_a_row_of_bfloat16_is_summed_in_float32():
  rng = np.random.default_rng(5)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.bfloat16)
  kernels = expert_products.Kernels(
    draw(E, 64, 8), draw(E, 64, 8), draw(E, 8, 64)
  )
  x, chosen = draw(2, 64), experts.choose(SPARSE, draw(2, E))
  wide = jax.tree.map(lambda x: x.astype(jnp.float32), (kernels, x))
  mix = jax.jit(mixture.mix, static_argnums=3)
  wanted = mix(*wide, chosen, 'dense')
  got = mix(kernels, x, chosen, 'pairs').astype(jnp.float32)
  # What is left is one rounding to bfloat16.
  np.testing.assert_allclose(got, wanted, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize('name', expert_products.IMPLEMENTATIONS)
def test_a_second_derivative_is_that_of_the_dense_product(name):
  rng = np.random.default_rng(4)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape) / 2, jnp.float32)
  kernels = expert_products.Kernels(
    draw(E, 12, 5), draw(E, 12, 5), draw(E, 5, 12)
  )
  x, along = draw(3, 12), draw(3, 12)
  chosen = experts.choose(SPARSE, draw(3, E))

  @functools.partial(jax.jit, static_argnums=0)
  def bent(name, x):
    loss = lambda x: jnp.sum(jnp.sin(mixture.mix(kernels, x, chosen, name)))
    return jax.grad(lambda x: jnp.vdot(jax.grad(loss)(x), along))(x)

  wanted = bent('dense', x)
  assert np.max(np.abs(wanted)) > 0.01
  np.testing.assert_allclose(bent(name, x), wanted, atol=1e-5)


@pytest.mark.parametrize(
  'num_rows, on_cpu', [(1, 'pairs'), (4, 'dense'), (40, 'blocks')]
)
def test_a_program_takes_the_product_of_its_platform(num_rows, on_cpu):
  """Not of the one that traces it: a CPU may compile for what it is not."""
  struct = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
  kernels = expert_products.Kernels(
    struct(E, 12, 5), struct(E, 12, 5), struct(E, 5, 12)
  )
  chosen = experts.Chosen(
    struct(num_rows, K), jax.ShapeDtypeStruct((num_rows, K), jnp.int32)
  )
  assert (
    expert_products.fastest_on_cpu(num_rows * K, E, on_mesh=False) == on_cpu
  )
  traced = jax.jit(mixture.mix).trace(kernels, struct(num_rows, 12), chosen)
  texts = {
    platform: traced.lower(lowering_platforms=(platform,)).as_text()
    for platform in ('cpu', 'tpu')
  }
  assert 'ragged_dot' not in texts['cpu']
  assert 'ragged_dot' in texts['tpu']
  assert 'while' not in texts['tpu']


def test_layers_without_experts_have_an_mlp_and_no_routing():
  config = with_experts(layers=(1,))
  model, params = make(config)
  assert 'mixture' not in params['layers'][0]
  assert params['layers'][0]['gate']['kernel'].shape == (14, 12)
  _, routing = forward(model, params, TOKENS)
  assert not np.any(routing.weights[:, :, 0])
  assert np.all(np.sum(routing.weights[:, :, 1] > 0, axis=-1) == K)


def test_stacked_layers_are_the_same():
  model, params = make()
  stack = lambda *leaves: jnp.stack(leaves)
  stacked = params | {'layers': jax.tree.map(stack, *params['layers'])}
  scanned = models.transformer(dataclasses.replace(CONFIG, scan_layers=True))
  wanted, got = (
    forward(*x, TOKENS) for x in [(model, params), (scanned, stacked)]
  )
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, atol=1e-5), got, wanted
  )


def test_no_override_is_bit_for_bit_none():
  model, params = make()
  wanted, _ = forward(model, params, TOKENS)
  got, _ = forward(model, params, TOKENS, models.no_override(CONFIG))
  np.testing.assert_array_equal(got, wanted)
  np.testing.assert_array_equal(plain_forward(model, params, TOKENS), wanted)


def test_a_constant_added_to_the_bias_changes_nothing():
  model, params = make()
  wanted, _ = forward(model, params, TOKENS)
  nothing = models.no_override(CONFIG)
  shifted = nothing._replace(bias=nothing.bias + jnp.array([[3.0], [-2.0]]))
  got, _ = forward(model, params, TOKENS, shifted)
  np.testing.assert_allclose(got, wanted, atol=1e-5)
  other = nothing._replace(bias=nothing.bias.at[1, 2].set(3.0))
  assert np.max(np.abs(forward(model, params, TOKENS, other)[0] - wanted)) > 0.1


def test_the_routers_own_weights_in_its_place_change_nothing():
  """At one position, where the values are this token's own."""
  model, params = make()
  wanted, routing = forward(model, params, TOKENS)
  last = jax.nn.softmax(routing.logits)[:, -1:]  # [B, 1, L, E]
  nothing = models.no_override(CONFIG)
  rows = lambda leaf: jnp.broadcast_to(leaf, (2, 1, *leaf.shape))
  at_last = jnp.arange(8) == 6
  same = jax.tree.map(rows, nothing)._replace(
    values=last,
    replaces=jnp.ones_like(last, bool),
    positions=rows(at_last),
  )
  got, _ = forward(model, params, TOKENS, same)
  np.testing.assert_allclose(got, wanted, atol=1e-5)
  other = same._replace(values=last[..., ::-1])
  got, changed = forward(model, params, TOKENS, other)
  np.testing.assert_allclose(got[:, :-1], wanted[:, :-1], atol=1e-5)
  assert np.max(np.abs(got[:, -1] - wanted[:, -1])) > 0.1
  np.testing.assert_allclose(jnp.sum(changed.weights, axis=-1), 1.0, atol=1e-6)


def test_replacing_comes_before_top_k_and_normalisation():
  model, params = make()
  nothing = models.no_override(CONFIG)
  values = jnp.zeros((L, E)).at[:, 4].set(30.0).at[:, 1].set(10.0)
  free = models.layer_mask(CONFIG, [1]) & models.expert_mask(values, 2)
  override = nothing._replace(values=values, replaces=free)
  _, routing = forward(model, params, TOKENS, override)
  _, own = forward(model, params, TOKENS)
  np.testing.assert_array_equal(routing.weights[:, :, 0], own.weights[:, :, 0])
  np.testing.assert_allclose(
    routing.weights[:, :, 1],
    np.broadcast_to([0, 0.25, 0, 0, 0.75, 0], (2, 7, E)),
    atol=1e-6,
  )


def test_positions_beyond_the_last_entry_are_as_there():
  model, params = make()
  nothing = models.no_override(CONFIG)
  bias = nothing.bias.at[:, 0].set(9.0)
  from_third = nothing._replace(bias=bias, positions=jnp.arange(4) == 3)
  _, routing = forward(model, params, TOKENS, from_third)
  has_expert = np.all(routing.weights[..., 0] > 0, axis=(0, 2))
  np.testing.assert_array_equal(has_expert[3:], True)
  assert not has_expert[:3].all()


def mixing(config, options, bias):
  """A scalar of one mixture as a function of a bias, and its parts."""
  module = mixture.Mixture(config.experts, **options)
  rng = np.random.default_rng(3)
  x = jnp.asarray(rng.normal(size=(1, 1, 5, 12)), jnp.float32)
  shapes = jax.eval_shape(module.init, jax.random.key(0), x, None)['params']
  params = jax.tree.map(
    lambda s: jnp.asarray(rng.normal(size=s.shape) / 2, jnp.float32), shapes
  )
  override = experts.LayerOverride(bias, bias, jnp.zeros_like(bias, bool))
  y, routed = module.apply({'params': params}, x, override)
  probe = jnp.asarray(rng.normal(size=y.shape), jnp.float32)
  one_hot = jnp.eye(E)
  of_experts = jnp.stack(
    [
      expert_products.mix_all(
        expert_products.Kernels(
          params['gates'], params['ups'], params['downs']
        ),
        x[0, 0],
        jnp.broadcast_to(one_hot[i], (5, E)),
      )
      for i in range(E)
    ],
    axis=-1,
  )
  slopes = jnp.einsum('td,tde->te', probe[0, 0], of_experts)
  return jnp.sum(y * probe), (
    jax.nn.softmax(routed.logits[0, 0] + bias),
    slopes,
  )


@pytest.mark.parametrize('normalise', [True, False])
def test_gradient_to_the_bias(normalise):
  """With top-E the closed form; straight through, the same for any top-k."""
  bias = jnp.asarray(np.random.default_rng(5).normal(size=E), jnp.float32)
  grads = {}
  for top_k, through in ((E, False), (K, True), (K, False)):
    config = with_experts(top_k=top_k, normalise=normalise)
    grad = jax.grad(
      functools.partial(mixing, config, {'straight_through': through}),
      has_aux=True,
    )
    grads[top_k, through], (p, slopes) = jax.jit(grad)(bias)
  wanted = jnp.sum(
    p * (slopes - jnp.sum(p * slopes, axis=-1, keepdims=True)), axis=0
  )
  for case in ((E, False), (K, True)):
    np.testing.assert_allclose(grads[case], wanted, rtol=1e-3, atol=1e-4)
    assert abs(float(jnp.sum(grads[case]))) < 1e-4
  assert np.max(np.abs(grads[K, False] - wanted)) > 1e-2


def test_straight_through_is_the_same_forward():
  model, params = make()
  through, _ = make(straight_through=True)
  got, wanted = (forward(m, params, TOKENS)[0] for m in (through, model))
  np.testing.assert_allclose(got, wanted, atol=1e-5)


NOTHING = models.no_override(CONFIG)


@pytest.mark.parametrize(
  ('override', 'message'),
  [
    (NOTHING._replace(bias=jnp.zeros((L, E + 1))), r'bias is \(2, 7\)'),
    (NOTHING._replace(bias=NOTHING.bias + jnp.nan), 'bias is not finite'),
    (NOTHING._replace(values=NOTHING.bias - 1), 'negative, but one is -1'),
    (NOTHING._replace(replaces=NOTHING.bias), 'replaces is float32, not bool'),
    (NOTHING._replace(positions=jnp.ones((0,), bool)), r'positions is \(0,\)'),
    (
      jax.tree.map(lambda x: jnp.stack([x[None]] * 3), NOTHING),
      r'bias is \(3, 1, 2, 6\), not \(2, 6\) or \(2, 1, 2, 6\)',
    ),
  ],
)
def test_wrong_overrides_are_refused(override, message):
  model, params = make()
  with pytest.raises(ValueError, match=message):
    models.routing(model, params, TOKENS, override)


def test_models_without_experts_refuse_routes():
  plain = models.transformer(dataclasses.replace(CONFIG, experts=None))
  with pytest.raises(ValueError, match='the model has no experts'):
    models.routing(plain, {}, TOKENS)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'top_k': 7}, 'top_k=7 must be from 1 to num_experts=6'),
    ({'num_experts': 0}, 'num_experts=0 must be'),
    ({'layers': (1, 0)}, r'experts.layers=\(1, 0\) must be ascending'),
  ],
)
def test_wrong_configs_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    with_experts(**changes)


def test_stacked_layers_must_be_equal():
  with pytest.raises(ValueError, match='needs equal layers'):
    dataclasses.replace(with_experts(layers=(1,)), scan_layers=True)


def test_only_mixtures_are_free():
  with pytest.raises(ValueError, match='layer 0 is no mixture'):
    models.layer_mask(with_experts(layers=(1,)), [0])
