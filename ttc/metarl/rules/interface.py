"""What an update rule is: pure functions of what an agent did and thought.

A rule sees outputs of networks, not the networks, and time as `(n, N)`; its
meta-parameters are an argument. So any rule trains any agent, meta-gradients go
through `targets` and `loss`, and evolution is a `vmap` over meta-parameters.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from ttc.agents.actor_critic import Outputs
from ttc.agents.on_policy import Batch
from ttc.agents.ppo import PPO
from ttc.agents.rollouts import Rollout, active_weights
from ttc.metarl.drifts import Drift
from ttc.types import Params

Losses = tuple[Float[Array, ''], dict[str, Float[Array, '']]]


class Lifetime(NamedTuple):
  """Where in its life an agent is.

  Attributes:
    n: updates done before this one, 0 at the first.
    horizon: `N`, updates of the whole life.
  """

  n: Int[Array, '']
  horizon: Num[Array, ''] | int


class Experience(NamedTuple):
  """What an agent lived through since the last update.

  Attributes:
    rollout: `[T, E, A]`; what it kept is a `Judged`.
    last: outputs `[E, A]` in the states that the rollout ends in.
    params: of the agent.
    again: `params -> (outputs [T, E, A], last)`, what an agent with other
      params would say of the same states.
  """

  rollout: Rollout
  last: Outputs
  params: Params
  again: Callable[[Params], tuple[Outputs, Outputs]]


class UpdateRule(NamedTuple):
  """How agents learn.

  Attributes:
    name: for tables and files.
    targets: `(meta, memory, experience, lifetime, hyper) -> (target, memory)`,
      a pytree of leaves `[T, E, ...]`.
    loss: `(meta, outputs, batch, lifetime, hyper) -> (loss, parts)`, of a part
      of the rollout and of the targets; agents descend it.
    init: `key -> meta`, meta-parameters; none unless given.
    start: `(meta, params) -> memory` of a life; none unless given.
    num_further: `num_actions -> m`, outputs of the actor behind its logits.
    has_critic: whether agents have values.
    drift: `(meta, n / N) -> drift` of mirror learning; None of other rules.
    discrete: whether it can only train agents whose actions are.
  """

  name: str
  targets: Callable[..., tuple[Any, Any]]
  loss: Callable[[Any, Outputs, Batch, Lifetime, PPO], Losses]
  init: Callable[[PRNGKeyArray], Params] = lambda key: {}
  start: Callable[[Params, Params], Any] = lambda meta, params: ()
  num_further: Callable[[int], int] = lambda num_actions: 0
  has_critic: bool = True
  drift: Callable[[Params, Array], Drift] | None = None
  discrete: bool = False


def mean_over(rollout: Rollout) -> Callable[[Array], Float[Array, '']]:
  """The mean over steps of agents that took part in them."""
  weight = active_weights(rollout)
  return lambda x: jnp.sum(x * weight)


def ends(rollout: Rollout) -> Array:
  """Whether an episode ended with a step, `[T, E, A]`."""
  done = rollout.terminated | rollout.truncated
  return jnp.broadcast_to(done[..., None], rollout.reward.shape)
