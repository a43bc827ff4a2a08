"""Load balancing and z-loss: closed forms, and what they make a router do."""

import jax
import jax.numpy as jnp
import numpy as np

from ttc import finetuning
from ttc.models import experts
from ttc.models.experts import Experts, Routing

E, K, T, L = 4, 2, 8, 2
EXPERTS = Experts(E, K, 3, normalise=True)


def routing_of(logits):
  chosen = experts.choose(EXPERTS, logits)
  return Routing(experts.spread(chosen, E), logits)


@jax.jit
def balancing(logits, mask=None):
  return finetuning.load_balancing_loss(routing_of(logits), mask)


def test_even_and_uneven_use():
  pair = 10.0 * jnp.array([1, 1, 0, 0])
  even = jnp.stack([jnp.roll(pair, i) for i in range(4)])
  one = 30.0 * jnp.array([[1.0, 1.0, 0.0, 0.0]] * 4)
  logits = jnp.stack([even, one], axis=1)[None]  # [B, T, L, E]
  np.testing.assert_allclose(balancing(logits), [1.0, E / K], rtol=1e-5)


def test_by_hand():
  logits = jax.random.normal(jax.random.key(0), (1, T, L, E))
  mask = jnp.arange(T)[None] < 5
  losses, z = balancing(logits, mask), []
  for l in range(L):
    law = np.exp(logits[0, :5, l])
    z.append(np.mean(np.log(law.sum(-1)) ** 2))
    law /= law.sum(-1, keepdims=True)
    uses = np.bincount(np.argsort(-law)[:, :K].ravel(), minlength=E) / (5 * K)
    np.testing.assert_allclose(losses[l], E * uses @ law.mean(0), rtol=1e-5)
  np.testing.assert_allclose(
    finetuning.router_z_loss(routing_of(logits), mask), z, rtol=1e-5
  )


def test_descent_evens_out():
  start = jax.random.normal(jax.random.key(1), (1, 64, 1, E))
  start += jnp.array([3.0, 1.0, 0.0, -1.0])
  grad = jax.jit(jax.grad(lambda bias: balancing(start + bias)[0]))
  bias = jnp.zeros(E)
  for _ in range(200):
    bias -= 0.5 * grad(bias)
  before, after = balancing(start)[0], balancing(start + bias)[0]
  assert before > 1.4
  assert after < 1.1


def test_layers_without_experts_have_no_loss():
  logits = jnp.zeros((1, T, L, E)).at[:, :, 1].set(1.0)
  routing = routing_of(logits)
  routing = routing._replace(weights=routing.weights.at[:, :, 0].set(0.0))
  assert finetuning.load_balancing_loss(routing)[0] == 0
  z = finetuning.router_z_loss(routing)
  assert z[0] == 0
  np.testing.assert_allclose(z[1], (1 + np.log(E)) ** 2, rtol=1e-5)
