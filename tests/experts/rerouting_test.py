"""C3PO on a model: neighbours, their loss, and one question at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest

from ttc import experts, models

CONFIG = models.TransformerConfig(
  vocab_size=9, num_layers=1, embed_dim=16, mlp_dim=16, num_heads=2,
  num_kv_heads=1, head_dim=8, max_length=32,
  experts=models.Experts(4, 2, 8, True),
)  # fmt: skip
LEARNER = models.transformer(CONFIG, straight_through=True)
R, B, T = 6, 3, 7
_full = lambda n, num: jnp.full((n,), num, jnp.int32)


def setup_module():
  global PARAMS, TEXTS, READ, REFERENCES, QUESTIONS, OWN, reroute
  PARAMS = jax.jit(LEARNER.init)(jax.random.key(0))
  TEXTS = experts.Answered(
    jax.random.randint(jax.random.key(1), (R, T), 1, 9),
    _full(R, 4),
    _full(R, T),
  )
  READ = jax.jit(experts.read_prompts, static_argnums=0)(
    LEARNER, PARAMS, TEXTS.prompt
  )
  REFERENCES = experts.References(TEXTS, READ.features, READ.pathways)
  QUESTIONS = jax.random.normal(jax.random.key(2), (B, 16))
  OWN = jax.nn.softmax(jax.random.normal(jax.random.key(3), (B, 1, 4)))
  reroute = functools.partial(
    experts.reroute, LEARNER, PARAMS, references=REFERENCES,
    log_kernel=experts.gaussian_kernel(3.0), num_layers=1, num_core=4,
  )  # fmt: skip


def by_descent(num_steps, rate):
  return experts.by_gradient_descent(
    optax.sgd(rate), num_steps, experts.simplex_space
  )


class ReroutingTest(absltest.TestCase):
  def test_of_one_neighbour_its_pathway(self):
    run = jax.jit(
      lambda questions, own: reroute(
        experts.by_kernel_regression((0.0,)), embeddings=questions,
        pathways=own, num_neighbours=1,
      )
    )  # fmt: skip
    got, read = jax.device_get((run(QUESTIONS, OWN), READ))
    np.testing.assert_allclose(
      got.pathways, read.pathways[got.neighbours[:, 0]], rtol=1e-5
    )
    apart = np.asarray(QUESTIONS)[:, None] - read.features
    distance = np.linalg.norm(apart, axis=-1)
    np.testing.assert_array_equal(got.neighbours[:, 0], distance.argmin(1))

  def test_a_question_among_the_references_is_left_out(self):
    same = np.arange(R) == np.arange(B)[:, None]
    run = jax.jit(
      lambda is_same: reroute(
        experts.by_mode_finding(), embeddings=READ.features[:B], pathways=OWN,
        num_neighbours=2, is_same=is_same,
      ).neighbours
    )  # fmt: skip
    first = np.asarray(run(None))[:, 0]
    np.testing.assert_array_equal(first, np.arange(B))
    self.assertFalse(np.any(np.asarray(run(same)) == np.arange(B)[:, None]))

  def test_alpha_and_descent_look_at_the_neighbours_loss(self):
    """The first step is the gradient of the weighted loss of their answers."""
    run = jax.jit(
      lambda pathways, embeddings: reroute(
        by_descent(1, 0.05), embeddings=embeddings, pathways=pathways,
        num_neighbours=2,
      )
    )  # fmt: skip
    got = run(OWN, QUESTIONS)

    def loss_fn(pathway, ids, weights):
      near = jax.tree.map(lambda leaf: leaf[ids], TEXTS)
      routes = experts.override_of(
        jnp.broadcast_to(pathway, (2, 1, 4)), jnp.ones((2, 1), bool),
        near.prompt_lengths, T,
      )  # fmt: skip
      losses = experts.answer_losses(LEARNER, PARAMS, near, routes)
      return weights @ losses

    gradient = jax.jit(jax.vmap(jax.grad(loss_fn)))(
      OWN, got.neighbours, got.weights
    )
    everywhere = jnp.ones(OWN.shape, bool)
    want = experts.project_on_simplex(
      OWN - 0.05 * gradient, everywhere, jnp.ones(OWN.shape[:-1])
    )
    self.assertGreater(float(jnp.abs(want - OWN).max()), 1e-4)
    np.testing.assert_allclose(got.pathways, want, atol=1e-5)
    # One of a batch is what it is alone.
    alone = run(OWN[1:2], QUESTIONS[1:2])
    np.testing.assert_allclose(alone.pathways, got.pathways[1:2], atol=1e-6)

  def test_gradients_reach_experts_that_were_not_chosen(self):
    """And of the model as it is they do not."""

    free = experts.by_gradient_descent(
      optax.sgd(0.1), 1, experts.unbounded_space
    )

    def moved(model):
      run = jax.jit(
        lambda own: experts.reroute(
          model, PARAMS, free, QUESTIONS, own, REFERENCES,
          experts.cosine_kernel, num_neighbours=1, num_layers=1, num_core=4,
        ).pathways
      )  # fmt: skip
      left_out = jnp.argsort(OWN, axis=-1)[..., :2]
      change = jnp.take_along_axis(run(OWN) - OWN, left_out, axis=-1)
      return float(jnp.abs(change).max())

    self.assertGreater(moved(LEARNER), 1e-4)
    self.assertLess(moved(models.transformer(CONFIG)), 1e-7)

  def test_bad_input(self):
    run = lambda **changes: reroute(
      experts.by_mode_finding(), embeddings=QUESTIONS, pathways=OWN, **changes
    )
    with self.assertRaisesRegex(ValueError, 'num_neighbours=7 .* 6 references'):
      run(num_neighbours=7)
    with self.assertRaisesRegex(ValueError, 'num_core=9 .* 4 experts'):
      experts.reroute(
        LEARNER, PARAMS, experts.by_mode_finding(), QUESTIONS, OWN, REFERENCES,
        experts.cosine_kernel, num_layers=1, num_core=9,
      )  # fmt: skip


if __name__ == '__main__':
  absltest.main()
