"""Particle games of talking: reference, speaker and listener, cryptography.

Words have no meaning but the one that agents give them.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ttc.envs.environment import Environment
from ttc.envs.multi_agent.mpe import drawing, game
from ttc.envs.multi_agent.mpe.world import WorldParams, norm, world_params
from ttc.envs.rendering import AGENT_COLORS
from ttc.types import AnyNumber


class ReferenceParams(NamedTuple):
  """What a task of `simple_reference` may set.

  Attributes:
    max_steps: of an episode.
    local_ratio: share of the reward that is an agent's own.
    world: constants of the physics.
  """

  max_steps: Int[AnyNumber, '']
  local_ratio: Float[AnyNumber, '']
  world: WorldParams


def simple_reference(continuous: bool = False) -> Environment:
  r"""Two agents, three landmarks; each knows where the other one has to go.

  .. math:: r_i = \lambda\,d_i + (1 - \lambda)\,\tfrac{d_0 + d_1}{2}

  with minus the distance `d_i` of the *other* agent from its goal. Both move
  and say one of 10 symbols at once. Observations are `[velocity 2, landmarks 6,
  colour of the other's goal 3, the other's word 10]`.

  Args:
    continuous: whether actions are.

  Returns:
    The environment; its params are `ReferenceParams`.
  """

  def observe(state, params):
    del params
    seen = game.seen_from(state.position, state.landmarks)
    others_goal = state.goal[::-1, None]
    color = jnp.where(jnp.arange(3)[None] == others_goal, 0.75, 0.25)
    return jnp.concatenate(
      [state.velocity, seen, color.astype(jnp.float32), state.message[::-1]],
      axis=-1,
    )

  def reward(state, params):
    own = -norm(state.position - state.landmarks[state.goal])[::-1]
    share = params.local_ratio
    return share * own + (1 - share) * jnp.mean(own)

  return game.particle_game(
    'simple_reference',
    params=ReferenceParams(
      np.int32(game.MAX_STEPS),
      np.float32(0.5),
      world_params([0.15] * 2, [0.2] * 3),
    ),
    observe=observe,
    reward=reward,
    observation_sizes={'agent_0': 21, 'agent_1': 21},
    draw=drawing.particles(
      AGENT_COLORS[3:5],
      drawing.CODES,
      goal_owners=AGENT_COLORS[3:5],
    ),
    abilities=[game.Ability(True, 10)] * 2,
    goals=(3, 3),
    continuous=continuous,
  )


class SpeakerListenerParams(NamedTuple):
  """What a task of `simple_speaker_listener` may set."""

  max_steps: Int[AnyNumber, '']
  world: WorldParams


def simple_speaker_listener(continuous: bool = False) -> Environment:
  """One sees the goal and speaks, the other one hears and moves.

  Both get minus the listener's squared distance to the goal, one of three
  landmarks. The speaker says one of 3 symbols and sees the goal's colour `[3]`;
  the listener sees `[velocity 2, landmarks 6, word 3]`.

  Args:
    continuous: whether actions are.

  Returns:
    The environment; its params are `SpeakerListenerParams`.
  """

  def observe(state, params):
    del params
    color = jnp.where(jnp.arange(3) == state.goal[0], 0.65, 0.15)
    seen = game.seen_from(state.position[1:], state.landmarks)
    return game.join_groups(
      color[None].astype(jnp.float32),
      jnp.concatenate([state.velocity[1:], seen, state.message], axis=-1),
    )

  def reward(state, params):
    del params
    delta = state.position[1] - state.landmarks[state.goal[0]]
    return jnp.broadcast_to(-jnp.sum(delta**2), (2,))

  return game.particle_game(
    'simple_speaker_listener',
    params=SpeakerListenerParams(
      np.int32(game.MAX_STEPS), world_params([0.075] * 2, [0.04] * 3)
    ),
    observe=observe,
    reward=reward,
    observation_sizes={'speaker_0': 3, 'listener_0': 11},
    draw=drawing.particles(
      ['#bbbbbb', AGENT_COLORS[4]],
      drawing.CODES,
      goal_owners=[AGENT_COLORS[4]],
    ),
    abilities=[game.Ability(False, 3), game.Ability()],
    goals=(3,),
    continuous=continuous,
  )


class CryptoParams(NamedTuple):
  """What a task of `simple_crypto` may set.

  Attributes:
    max_steps: of an episode.
    code_value: the entry of a code that is not zero. One, as what is said;
      the public JAX code has 255.
    world: constants of the physics.
  """

  max_steps: Int[AnyNumber, '']
  code_value: Float[AnyNumber, '']
  world: WorldParams


def simple_crypto(continuous: bool = False) -> Environment:
  r"""Alice tells Bob a secret, encrypted with a key they share; Eve listens.

  Nobody moves; all say one of 4 symbols, `c`. The secret `m` and the key are
  codes, one-hot vectors of 4 with one of 2 values. With squared distances to
  the secret, Alice and Bob get :math:`|c_E - m|^2 - |c_B - m|^2` and Eve
  :math:`-|c_E - m|^2`; nothing as long as nobody has spoken. Eve sees Alice's
  word `[4]`, Alice `[secret 4, key 4]`, Bob `[key 4, Alice's word 4]`.

  Args:
    continuous: whether actions are.

  Returns:
    The environment; its params are `CryptoParams`.
  """

  def codes(state, params):
    chosen = state.goal[:, None] == jnp.arange(4)[None]
    return chosen.astype(jnp.float32) * params.code_value

  def observe(state, params):
    code, word = codes(state, params), state.message[1]
    return game.join_groups(
      word[None],
      jnp.stack(
        [
          jnp.concatenate([code[0], code[1]]),
          jnp.concatenate([code[1], word]),
        ]
      ),
    )

  def reward(state, params):
    secret = codes(state, params)[:1]
    error = jnp.sum((state.message - secret) ** 2, axis=-1)
    eve, _, bob = error[0], error[1], error[2]
    rewards = jnp.stack([-eve, eve - bob, eve - bob])
    return jnp.where(jnp.any(state.message != 0), rewards, 0.0)

  return game.particle_game(
    'simple_crypto',
    params=CryptoParams(
      np.int32(game.MAX_STEPS),
      np.float32(1.0),
      world_params([0.05] * 3, [0.05] * 2),
    ),
    observe=observe,
    reward=reward,
    observation_sizes={'eve_0': 4, 'alice_0': 8, 'bob_0': 8},
    draw=drawing.draw_crypto,
    abilities=[game.Ability(False, 4)] * 3,
    goals=(2, 2),
    continuous=continuous,
  )
