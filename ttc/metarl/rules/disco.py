r"""Disco103: the update rule that was discovered at scale.

Oh et al., 2025, Nature, 10.1038/s41586-025-09761-x. Agents say logits of a
policy; a prediction `y`, one vector of a state; `z`, one of an action; values
of actions as distributions; and the policy in the state after an action. What
`y` and `z` mean was learned by the rule. The network of `disco_network` says
what they should have been:

.. math::
  L = KL(\hat\pi \| \pi) + KL(\hat y \| y) + KL(\hat z \| z_a)
    + KL(\pi_{t+1} \| \pi^{next}_a) + 0.2 L_q

All are logits; the fourth is 0 where an episode ends, and the last is the cross
entropy to Retrace's return. The network also sees what an exponential average
of the agent's parameters says, and remembers the whole life.

Costs per update: two evaluations of the agent more than others, and the
network. Agents have `m + A (m + A + bins)` outputs behind the logits, which a
head as plain as the policy's gives: agents of the paper had a small LSTM from
state and action to what is said of an action. Pass the optimiser of the paper,
`metarl.stopped_adam`, as an agent's.
"""

import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ttc.agents.distributions import masked
from ttc.metarl.rules import disco_network
from ttc.metarl.rules.disco_network import LSTMState, Said, Seen
from ttc.metarl.rules.disco_values import (
  Average,
  new_average,
  two_bins,
  values_of,
)
from ttc.metarl.rules.disco_weights import Sizes, load
from ttc.metarl.rules.interface import UpdateRule, ends, mean_over
from ttc.types import Params

NUM_BINS = 601  # of a value
DISCOUNT = 0.997  # of values
TRACE = 0.95  # of Retrace
VALUE_WEIGHT = 0.2
TARGET_DECAY = 0.9  # of an agent's parameters, an update


class DiscoMemory(NamedTuple):
  """What the rule remembers of a life.

  Attributes:
    life: of the network's LSTM over updates.
    average: of advantages.
    target: average of the agent's parameters.
  """

  life: LSTMState
  average: Average
  target: Params


class Predictions(NamedTuple):
  """What an agent says besides its policy: logits."""

  y: Float[Array, '*B m']
  z: Float[Array, '*B A m']
  next_policy: Float[Array, '*B A A']
  q: Float[Array, '*B A n']


class DiscoTarget(NamedTuple):
  """What an agent should have said.

  Attributes:
    pi: logits of the policy.
    y: logits of the prediction.
    z: logits of that of the action taken.
    next_policy: logits of the policy after the step.
    returns: values of what was done.
  """

  pi: Float[Array, 'T *B A']
  y: Float[Array, 'T *B m']
  z: Float[Array, 'T *B m']
  next_policy: Float[Array, 'T *B A']
  returns: Float[Array, 'T *B']


def disco103(
  path: str | os.PathLike,
  sizes: Sizes = Sizes(),  # noqa: B008
  *,
  num_bins: int = NUM_BINS,
  discount: float = DISCOUNT,
  trace: float = TRACE,
  value_weight: float = VALUE_WEIGHT,
  target_decay: float = TARGET_DECAY,
) -> UpdateRule:
  """The rule with released weights; agents have no critic.

  Weights are `disco_103.npz` of google-deepmind/disco_rl, Apache-2.0. `init`
  gives them whatever the key. Uses none of an agent's numbers; defaults are
  those of the released code. Ends by a limit are ends, as there.

  Args:
    path: of a local copy.
    sizes: of its network.
    num_bins: of a value; odd, so that 0 is one of them.
    discount: gamma of values.
    trace: lambda of Retrace.
    value_weight: of the value's loss.
    target_decay: of the average of an agent's parameters, an update.

  Raises:
    ValueError: if the file holds no such weights, or on an even `num_bins`.
    FileNotFoundError: if there is none.
  """
  if num_bins < 3 or num_bins % 2 == 0:
    raise ValueError(f'num_bins={num_bins}, expected an odd number from 3')
  weights = load(path, sizes)
  m = sizes.num_predictions

  def start(meta, params):
    return DiscoMemory(disco_network.new_life(meta), new_average(), params)

  def targets(meta, memory, experience, lifetime, hyper):
    del lifetime, hyper
    return disco_targets(
      meta, memory, experience, m, discount, trace, target_decay
    )

  def loss(meta, outputs, batch, lifetime, hyper):
    del meta, lifetime, hyper
    return disco_loss(outputs, batch, m, value_weight)

  return UpdateRule(
    'disco103',
    targets,
    loss,
    lambda key: weights,
    start,
    num_further=lambda n: m + n * (m + n + num_bins),
    has_critic=False,
    discrete=True,
  )


def predictions_of(outputs, num_predictions: int) -> Predictions:
  """The parts of what an agent says behind its logits.

  Args:
    outputs: of an agent; the law is categorical.
    num_predictions: `m`.
  """
  n, m = outputs.law.logits.shape[-1], num_predictions
  further = outputs.further
  y, z, after, q = jnp.split(further, np.cumsum([m, n * m, n * n]), axis=-1)
  by_action = lambda x: x.reshape(*further.shape[:-1], n, -1)
  return Predictions(y, by_action(z), by_action(after), by_action(q))


def disco_targets(
  meta, memory, experience, num_predictions, discount, trace, target_decay
) -> tuple[DiscoTarget, DiscoMemory]:
  """What the network says of a rollout, and what it remembers."""
  rollout = experience.rollout
  active = rollout.active.astype(jnp.float32)
  weight = active / jnp.maximum(jnp.sum(active), 1.0)
  done = ends(rollout)

  def ask(params):
    """Of all states, the last one included."""
    outputs = jax.tree.map(
      lambda x, last: jnp.concatenate([x, last[None]]),
      *experience.again(params),
    )
    said = predictions_of(outputs, num_predictions)
    return Said(outputs.law.logits, said.y, said.z), said.q

  (agent, q), (target, target_q) = ask(experience.params), ask(memory.target)
  # Those who acted are the agent: targets are made before it changes.
  behaviour = agent.logits[:-1]
  values, average = values_of(
    memory.average,
    rollout.reward,
    done,
    rollout.action,
    weight,
    agent.logits,
    behaviour,
    q,
    target_q,
    discount,
    trace,
  )
  seen = Seen(
    rollout.action,
    rollout.reward,
    done,
    weight,
    behaviour,
    agent,
    target,
    values,
  )
  taught, life = disco_network.teach(meta, memory.life, seen)
  target_params = jax.tree.map(
    lambda old, new: target_decay * old + (1 - target_decay) * new,
    memory.target,
    experience.params,
  )
  return DiscoTarget(
    masked(taught.pi, rollout.legal),
    taught.y,
    taught.z,
    jax.lax.stop_gradient(agent.logits[1:]),
    values.returns,
  ), DiscoMemory(life, average, target_params)


def disco_loss(outputs, batch, num_predictions, value_weight):
  """The distance of what an agent says from what it should have said.

  Args:
    outputs: of the agent now.
    batch: its target is a `DiscoTarget`.
    num_predictions: `m`.
    value_weight: of the value's loss.
  """
  rollout, target = batch
  mean = mean_over(rollout)
  said = predictions_of(outputs, num_predictions)
  index = rollout.action[..., None, None]
  taken = lambda x: jnp.take_along_axis(x, index, axis=-2)[..., 0, :]
  going_on = 1.0 - ends(rollout).astype(jnp.float32)
  q = taken(said.q)
  wanted = two_bins(target.returns, q.shape[-1])
  parts = {
    'policy_loss': mean(divergence(target.pi, outputs.law.logits)),
    'y_loss': mean(divergence(target.y, said.y)),
    'z_loss': mean(divergence(target.z, taken(said.z))),
    'next_policy_loss': mean(
      divergence(target.next_policy, taken(said.next_policy)) * going_on
    ),
  }
  value_loss = -mean(jnp.sum(wanted * jax.nn.log_softmax(q), axis=-1))
  loss = sum(parts.values()) + value_weight * value_loss
  return loss, parts | {
    'value_loss': value_loss,
    'entropy': mean(outputs.law.entropy()),
  }


def divergence(
  logits: Float[Array, '*B n'], others: Float[Array, '*B n']
) -> Float[Array, ' *B']:
  """KL from the law of `others` to that of `logits`, where the mean is."""
  log_p, log_q = jax.nn.log_softmax(logits), jax.nn.log_softmax(others)
  return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)
