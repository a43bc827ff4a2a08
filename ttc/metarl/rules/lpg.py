r"""LPG and TA-LPG: a network in the place of returns and values.

Oh et al., 2020, 2007.08794. Agents have a policy and a prediction `y`, a
distribution over `m` things that mean nothing at first. A recurrent network
reads an agent's steps backwards in time, and says of each by how much its
action is to become likelier and what the prediction should have been:

.. math::
  \Delta\theta \propto E[\nabla_\theta \log \pi_\theta(a | s) \hat\pi
    - \alpha_y \nabla_\theta KL(y_\theta(s) \| \hat y)]

TA-LPG (Jackson et al., 2024, 2402.05828) also reads `n / N` and `log N`, so
that what it teaches may depend on how much of life is left. A step of an agent
costs an evaluation of a GRU: about `6 H (H + 6)` multiplications.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ttc.agents.networks import GRU, orthogonal
from ttc.metarl.lifetimes import lifetime_features
from ttc.metarl.rules.interface import UpdateRule, ends, mean_over

NUM_PREDICTIONS = 8  # of the public code; 30 in the paper
WIDTH = 256  # of the GRU, in the public code; of an LSTM in the paper
PREDICTION_WEIGHT = 0.5  # alpha_y


class LPGNet(nn.Module):
  """Reads lives backwards.

  Attributes:
    num_predictions: `m`.
    width: of the GRU.
  """

  num_predictions: int
  width: int

  @nn.compact
  def __call__(
    self,
    steps: Float[Array, 'T *B D'],
    prediction: Float[Array, 'T *B m'],
    next_prediction: Float[Array, 'T *B m'],
    done: Bool[Array, 'T *B'],
  ) -> tuple[Float[Array, 'T *B'], Float[Array, 'T *B m']]:
    """What the network says of steps.

    Args:
      steps: numbers of each.
      prediction: `y` before it, probabilities.
      next_prediction: after it; not seen where an episode ended.
      done: whether one did.

    Returns:
      `pi_hat`, and logits of `y_hat`.
    """
    hidden = nn.Dense(16, kernel_init=orthogonal(2**0.5))
    out = nn.Dense(1, kernel_init=orthogonal())
    embed = lambda y: out(nn.relu(hidden(y)))
    going_on = 1.0 - done[..., None].astype(jnp.float32)
    inputs = jnp.concatenate(
      [steps, embed(prediction), embed(next_prediction) * going_on], axis=-1
    )
    memory = jnp.zeros((*done.shape[1:], self.width), inputs.dtype)
    states, _ = GRU(self.width)(inputs[::-1], memory, done[::-1])
    heads = nn.Dense(1 + self.num_predictions, kernel_init=orthogonal())
    said = heads(nn.relu(states))[::-1]
    return said[..., 0], said[..., 1:]


def lpg(
  num_predictions: int = NUM_PREDICTIONS,
  width: int = WIDTH,
  *,
  prediction_weight: float = PREDICTION_WEIGHT,
) -> UpdateRule:
  """LPG; agents have no critic.

  Uses `discount` of an agent's numbers, as an input.

  Args:
    num_predictions: `m`.
    width: of the network.
    prediction_weight: alpha_y.
  """
  return _lpg('lpg', False, num_predictions, width, prediction_weight)


def ta_lpg(
  num_predictions: int = NUM_PREDICTIONS,
  width: int = WIDTH,
  *,
  prediction_weight: float = PREDICTION_WEIGHT,
) -> UpdateRule:
  """LPG that knows how much of life is over, and how long it is.

  Args:
    num_predictions: `m`.
    width: of the network.
    prediction_weight: alpha_y.
  """
  return _lpg('ta_lpg', True, num_predictions, width, prediction_weight)


def _lpg(name, temporal, num_predictions, width, prediction_weight):
  net = LPGNet(num_predictions, width)

  def init(key):
    num_inputs = 6 if temporal else 4
    y = jnp.zeros((1, num_predictions), jnp.float32)
    steps = jnp.zeros((1, num_inputs), jnp.float32)
    return net.init(key, steps, y, y, jnp.zeros((1,), bool))

  def targets(meta, memory, experience, lifetime, hyper):
    rollout, last = experience.rollout, experience.last
    steps = step_inputs(rollout, hyper.discount)
    if temporal:
      time = lifetime_features(lifetime.n, lifetime.horizon)
      time = jnp.broadcast_to(time, (*steps.shape[:-1], 2))
      steps = jnp.concatenate([steps, time], axis=-1)
    y = jax.nn.softmax(rollout.kept.further)
    last_y = jax.nn.softmax(last.further)
    following = jnp.concatenate([y[1:], last_y[None]])
    said = net.apply(
      meta, *jax.lax.stop_gradient((steps, y, following)), ends(rollout)
    )
    return said, memory

  def loss(meta, outputs, batch, lifetime, hyper):
    del meta, lifetime, hyper
    return lpg_loss(outputs, batch, prediction_weight)

  return UpdateRule(
    name,
    targets,
    loss,
    init,
    num_further=lambda num_actions: num_predictions,
    has_critic=False,
  )


def step_inputs(rollout, discount) -> Float[Array, 'T E A 4']:
  """`[r, done, gamma, pi(a | s)]`."""
  done = ends(rollout).astype(jnp.float32)
  return jnp.stack(
    [
      rollout.reward,
      done,
      jnp.full_like(done, discount),
      jnp.exp(rollout.kept.log_prob),
    ],
    axis=-1,
  )


def lpg_loss(outputs, batch, prediction_weight):
  """Minus what the update climbs; gradients reach `pi_hat` and `y_hat`.

  Args:
    outputs: of the agent now.
    batch: its target is `(pi_hat [T, E, A], logits of y_hat [T, E, A, m])`.
    prediction_weight: alpha_y.
  """
  rollout, (pi_hat, y_hat) = batch
  mean = mean_over(rollout)
  log_y = jax.nn.log_softmax(outputs.further)
  log_y_hat = jax.nn.log_softmax(y_hat)
  divergence = jnp.sum(jnp.exp(log_y) * (log_y - log_y_hat), axis=-1)
  policy_loss = -mean(outputs.law.log_prob(rollout.action) * pi_hat)
  prediction_loss = mean(divergence)
  loss = policy_loss + prediction_weight * prediction_loss
  return loss, {
    'policy_loss': policy_loss,
    'prediction_loss': prediction_loss,
    'entropy': mean(outputs.law.entropy()),
    'pi_hat_square': mean(pi_hat**2),
    'y_hat_square': mean(jnp.sum(jnp.exp(2 * log_y_hat), axis=-1)),
  }
