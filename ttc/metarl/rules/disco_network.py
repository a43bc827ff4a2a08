r"""The network of DiscoRL, which says what an agent should have said.

Oh et al., 2025, "Discovering state-of-the-art reinforcement learning
algorithms", Nature, 10.1038/s41586-025-09761-x. An LSTM reads a rollout from
its end to its beginning and forgets at the ends of episodes. A second one takes
a step an update, all through the life of the agent, and scales the features of
the first. Heads on these say a policy and predictions `y` and `z` for each
step. Nothing here depends on how many actions there are: what is said of an
action is mixed with its mean over actions, as in a network on a set.

A step of an agent costs about `4 width (width + 27) + 2 m width + 64 m A`
multiplications.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc.metarl.rules.disco_values import Values, symlog
from ttc.metarl.rules.disco_weights import Dense, DiscoParams, Embeddings


class LSTMState(NamedTuple):
  """Memory of an LSTM."""

  hidden: Float[Array, '*B H']
  cell: Float[Array, '*B H']


class Said(NamedTuple):
  """What an agent says of `S` states: logits all."""

  logits: Float[Array, 'S *B A']
  y: Float[Array, 'S *B m']
  z: Float[Array, 'S *B A m']


class Seen(NamedTuple):
  """What the network is told of `T` steps of agents `*B`.

  Attributes:
    action: that was taken.
    reward: of the step.
    done: whether an episode ended with it.
    weight: of a step in means; sums to 1.
    behaviour: logits of those who acted.
    agent: what it says of the `T + 1` states.
    target: what an average of its past selves says of them.
    values: of states and actions.
  """

  action: Int[Array, 'T *B']
  reward: Float[Array, 'T *B']
  done: Bool[Array, 'T *B']
  weight: Float[Array, 'T *B']
  behaviour: Float[Array, 'T *B A']
  agent: Said
  target: Said
  values: Values


class Taught(NamedTuple):
  """Logits of what the agent should have said, `z` of the action taken."""

  pi: Float[Array, 'T *B A']
  y: Float[Array, 'T *B m']
  z: Float[Array, 'T *B m']


def new_life(params: DiscoParams) -> LSTMState:
  """The memory that a life begins with."""
  zeros = jnp.zeros_like(params.life.bias[: params.scale.kernel.shape[0]])
  return LSTMState(zeros, zeros)


def teach(
  params: DiscoParams, life: LSTMState, seen: Seen
) -> tuple[Taught, LSTMState]:
  """What the agent should have said of a rollout.

  Derivatives do not reach probabilities of actions and values, but predictions,
  as in the released code.

  Args:
    params: of the network.
    life: its memory of the agent's updates so far.
    seen: of the rollout.

  Returns:
    Targets, and the memory with this update in it.
  """
  inputs, actions = describe(params.embeddings, seen)
  x = read_backwards(params.rollout, inputs, seen.done)
  x = x * dense(params.scale, life.hidden)
  y_hat, z_hat = dense(params.y_hat, x), dense(params.z_hat, x)
  for_each = jnp.broadcast_to(
    x[..., None, :], (*actions.shape[:-1], x.shape[-1])
  )
  of_actions = on_set(
    params.action, jnp.concatenate([for_each, actions], axis=-1)
  )
  pi_hat = dense(params.pi_hat, of_actions)[..., 0]

  inputs, _ = describe(params.life_embeddings, seen)
  summary = dense(params.summary, x)
  embedded = two_layers(params.life_embeddings.y, jax.nn.softmax(y_hat))
  of_life = dense(
    params.life_input, jnp.concatenate([inputs, summary, embedded], axis=-1)
  )
  steps = tuple(range(seen.weight.ndim))
  mean = jnp.sum(of_life * seen.weight[..., None], axis=steps)
  width = life.hidden.shape[-1]
  from_input = mean @ params.life.kernel[:-width] + params.life.bias
  life = lstm_step(params.life.kernel[-width:], life, from_input)
  return Taught(pi_hat, y_hat, z_hat), life


def describe(
  embeddings: Embeddings, seen: Seen
) -> tuple[Float[Array, 'T *B 27'], Float[Array, 'T *B A 2']]:
  """Numbers of each step, and features of each action in it.

  What follows a step is what is said of the state after it. Where an episode
  ended rollouts go on with the next one, of which nothing may be seen: there
  the state before the step stands in for the last one.

  Args:
    embeddings: of predictions and actions.
    seen: of a rollout.
  """
  values, stop = seen.values, jax.lax.stop_gradient
  taken = lambda x: jnp.take_along_axis(x, seen.action[..., None], -1)[..., 0]
  probs = lambda logits: stop(jax.nn.softmax(logits))
  policy = probs(seen.agent.logits)
  behaviour, target_policy = probs(seen.behaviour), probs(seen.target.logits)
  y, z = _embedded(embeddings, seen.agent)
  target_y, target_z = _embedded(embeddings, seen.target)

  def pair(x):
    before = x[:-1]
    return [before, jnp.where(seen.done, before, x[1:])]

  def of_z(z):
    mean = jnp.sum(policy * z, axis=-1)
    return [taken(z[:-1]), *pair(mean), *pair(jnp.max(z, axis=-1))]

  actions = [
    policy[:-1],
    behaviour,
    target_policy[:-1],
    z[:-1],
    target_z[:-1],
    stop(symlog(values.q)),
    stop(symlog(values.q_advantage)),
    stop(values.normalized_q_advantage),
    jax.nn.one_hot(seen.action, policy.shape[-1], dtype=jnp.float32),
  ]
  features = jnp.stack(actions, axis=-1)
  for layer in embeddings.action:
    features = on_set(layer, features)
  steps = [
    taken(policy[:-1]),
    taken(behaviour),
    symlog(seen.reward),
    1.0 - seen.done.astype(jnp.float32),
    *pair(stop(symlog(values.value))),
    stop(symlog(values.advantage)),
    stop(values.normalized_advantage),
    taken(target_policy[:-1]),
    *pair(y),
    *pair(target_y),
    *of_z(z),
    *of_z(target_z),
  ]
  index = seen.action[..., None, None]
  of_taken = jnp.take_along_axis(features, index, axis=-2)[..., 0, :]
  parts = [jnp.stack(steps, axis=-1), jnp.mean(features, axis=-2), of_taken]
  return jnp.concatenate(parts, axis=-1), features


def _embedded(embeddings, said):
  """One number of `y` and of each `z`."""
  y = two_layers(embeddings.y, jax.nn.softmax(said.y))
  z = two_layers(embeddings.z, jax.nn.softmax(said.z))
  return y[..., 0], z[..., 0]


def read_backwards(
  layer: Dense, inputs: Float[Array, 'T *B D'], done: Bool[Array, 'T *B']
) -> Float[Array, 'T *B H']:
  """Outputs of an LSTM from the last step to the first.

  Its memory is forgotten before a step that an episode ended with. The input's
  share of the gates is computed for all steps at once.

  Args:
    layer: of the gates; rows of inputs are before those of the memory.
    inputs: of steps.
    done: whether an episode ended with one.
  """
  num_inputs = inputs.shape[-1]
  kernel = layer.kernel[num_inputs:]
  from_input = inputs @ layer.kernel[:num_inputs] + layer.bias
  zeros = jnp.zeros((*done.shape[1:], kernel.shape[0]), jnp.float32)

  def step(state, now):
    from_x, forget = now
    state = jax.tree.map(lambda x: jnp.where(forget[..., None], 0.0, x), state)
    state = lstm_step(kernel, state, from_x)
    return state, state.hidden

  start = LSTMState(zeros, zeros)
  return jax.lax.scan(step, start, (from_input, done), reverse=True)[1]


def lstm_step(
  kernel: Float[Array, 'H gates'],
  state: LSTMState,
  from_input: Float[Array, '*B gates'],
) -> LSTMState:
  """A step of an LSTM; gates are input, candidate, forget (plus 1), output."""
  gates = from_input + state.hidden @ kernel
  write, new, keep, show = jnp.split(gates, 4, axis=-1)
  keep, write = jax.nn.sigmoid(keep + 1.0), jax.nn.sigmoid(write)
  cell = keep * state.cell + write * jnp.tanh(new)
  return LSTMState(jax.nn.sigmoid(show) * jnp.tanh(cell), cell)


def dense(layer: Dense, x: Float[Array, '*B n']) -> Float[Array, '*B k']:
  """A linear layer."""
  return x @ layer.kernel + layer.bias


def two_layers(
  layers: tuple[Dense, Dense], x: Float[Array, '*B n']
) -> Float[Array, '*B k']:
  """ReLU between them."""
  return dense(layers[1], jax.nn.relu(dense(layers[0], x)))


def on_set(layer: Dense, x: Float[Array, '*B A n']) -> Float[Array, '*B A k']:
  """A layer and ReLU on each of a set, next to the mean of all."""
  mean = jnp.broadcast_to(jnp.mean(x, axis=-2, keepdims=True), x.shape)
  return jax.nn.relu(dense(layer, jnp.concatenate([x, mean], axis=-1)))
