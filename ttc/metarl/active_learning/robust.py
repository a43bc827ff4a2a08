r"""Policies that are good on the hardest instance, class by class.

Zhang, Katz-Samuels and Jamieson, 2020, 2010.15382, section 3. Classes of
instances are nested by difficulty, :math:`\Theta(r) = \{\theta: \rho(\theta)
\le r\}`. What is achievable on each is found first, then one policy that is
nowhere far from it:

.. math::
  \min_\pi \max_k \Big( \max_{\theta \in \Theta(r_k)} \ell(\pi, \theta)
    - \min_{\pi'} \max_{\theta \in \Theta(r_k)} \ell(\pi', \theta) \Big)

The inner maximum is over particles: instances and their weights both climb the
estimated loss, and a barrier keeps the instances in their class. The policy
goes down the weighted loss by the score function, with the mean of the other
inquiries of the same instance as the baseline. A step costs `K N M T`
evaluations of the policy and their gradient for `K` classes, `N` particles, `M`
inquiries of each and a budget `T`. Numbers of the paper are from memory.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ttc.metarl.active_learning.policies import (
  LossFn,
  PolicyFn,
  inquire,
  misidentification,
)
from ttc.metarl.active_learning.problems import Exploration, difficulty
from ttc.types import Params


class Robust(NamedTuple):
  """Numbers of the training.

  Attributes:
    budget: `T`, queries.
    num_particles: `N`, of each class.
    num_inquiries: `M`, of each particle and step; at least 2.
    num_steps: of a minimum over policies.
    learning_rate: of the policy's Adam; falls to a tenth.
    instance_rate: of the instances' Adam; 0 to let them be.
    weight_rate: of the weights, multiplicative.
    weight_floor: share of the weight that is spread evenly, so that no particle
      is forgotten.
    barrier: weight of `log(1 - rho / r)`.
    entropy: weight of the entropies of queries and of the answer at first;
      falls to 0. Without it policies settle before they have tried.
  """

  budget: int = 12
  num_particles: int = 64
  num_inquiries: int = 16
  num_steps: int = 2000
  learning_rate: float = 3e-3
  instance_rate: float = 0.02
  weight_rate: float = 0.05
  weight_floor: float = 0.1
  barrier: float = 0.01
  entropy: float = 0.1


class Adversary(NamedTuple):
  """Particles of all classes.

  Attributes:
    parameters: of instances, `[K, N, ...]`.
    opt_state: of their optimiser.
    logits: of their weights, one law over all of them.
  """

  parameters: Float[Array, 'K N p']
  opt_state: Any
  logits: Float[Array, 'K N']


class Found(NamedTuple):
  """A policy and how it does.

  Attributes:
    params: of the policy.
    adversary: after the last step.
    losses: mean loss of each class by the particles' weights within it, over
      the last tenth of the steps.
  """

  params: Params
  adversary: Adversary
  losses: Float[Array, ' K']


def particles(
  problem: Exploration,
  key: PRNGKeyArray,
  radius: Float[Array, ''],
  num_particles: int,
) -> Float[Array, 'N p']:
  """Instances of a class: of four times as many, the first that lie in it.

  Where there are not enough of these, the easiest ones take their place.
  """
  keys = jax.random.split(key, 4 * num_particles)
  drawn = jax.vmap(problem.init)(keys)
  rho = jax.vmap(lambda p: difficulty(problem, problem.instance(p)))(drawn)
  order = jnp.argsort(jnp.where(rho <= radius, 0.0, rho), stable=True)
  return drawn[order[:num_particles]]


def minimax(
  problem: Exploration,
  policy: PolicyFn,
  params: Params,
  key: PRNGKeyArray,
  radii: Float[Array, ' K'],
  floors: Float[Array, ' K'],
  numbers: Robust,
  *,
  loss_fn: LossFn = misidentification,
  adversarial: bool = True,
) -> Found:
  """Descends the largest gap to the floors.

  Args:
    problem: what may be asked and answered.
    policy: to be learned.
    params: where it begins.
    key: consumed.
    radii: of the classes.
    floors: what is achievable on each; zeros for one class.
    numbers: of the training.
    loss_fn: of an answer.
    adversarial: False for fresh instances of the uniform law at every step, all
      of one weight: the policy of a Bayesian whose prior that is.

  Raises:
    ValueError: on numbers that mean nothing.
  """
  check(numbers)
  num_classes, size = radii.shape[0], numbers.num_particles
  rate = optax.cosine_decay_schedule(
    numbers.learning_rate, numbers.num_steps, 0.1
  )
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
  climber = optax.adam(numbers.instance_rate)
  key, draw_key = jax.random.split(key)
  draw = jax.vmap(lambda key, radius: particles(problem, key, radius, size))
  parameters = draw(jax.random.split(draw_key, num_classes), radii)
  logits = jnp.zeros((num_classes, size), jnp.float32)
  adversary = Adversary(parameters, climber.init(parameters), logits)
  of_step = _loss_of(problem, policy, loss_fn, numbers)

  def step(carry, t):
    params, opt_state, adversary = carry
    step_key = jax.random.fold_in(key, t)
    if not adversarial:
      prior_key, step_key = jax.random.split(step_key)
      keys = jax.random.split(prior_key, (num_classes, size))
      fresh = jax.vmap(jax.vmap(problem.init))(keys)
      adversary = adversary._replace(parameters=fresh)
    weights = _weights(adversary.logits, numbers.weight_floor)
    entropy = numbers.entropy * (1 - t / numbers.num_steps)
    grads, losses = jax.grad(of_step, argnums=(0, 1), has_aux=True)(
      params, adversary.parameters, weights, step_key, entropy
    )
    changes, opt_state = optimizer.update(grads[0], opt_state, params)
    params = optax.apply_updates(params, changes)
    if adversarial:
      adversary = _climb(
        problem, climber, numbers, adversary, grads[1], weights, radii
      )
      gaps = losses - floors[:, None]
      climbed = adversary.logits + numbers.weight_rate * gaps
      adversary = adversary._replace(logits=climbed - jnp.max(climbed))
    share = weights / jnp.sum(weights, axis=1, keepdims=True)
    return (params, opt_state, adversary), jnp.sum(share * losses, axis=1)

  (params, _, adversary), losses = jax.lax.scan(
    step,
    (params, optimizer.init(params), adversary),
    jnp.arange(numbers.num_steps),
  )
  tail = max(numbers.num_steps // 10, 1)
  return Found(params, adversary, jnp.mean(losses[-tail:], axis=0))


def _weights(logits, floor):
  """A law over all particles of all classes."""
  law = jax.nn.softmax(logits.ravel()).reshape(logits.shape)
  return (1 - floor) * law + floor / logits.size


def _loss_of(problem, policy, loss_fn, numbers):
  """The surrogate whose gradients are the estimates, and losses `[K, N]`."""

  def of_particle(params, parameters, key):
    theta = problem.instance(parameters)

    def one(key):
      spent = inquire(problem, policy, params, key, theta, numbers.budget)
      return spent, loss_fn(problem, spent.answer, theta)

    spent, losses = jax.vmap(one)(jax.random.split(key, numbers.num_inquiries))
    total = jnp.sum(losses)
    others = (total - losses) / (numbers.num_inquiries - 1)
    score = jax.lax.stop_gradient(losses - others)
    log_prob = spent.query_log_prob + spent.outcome_log_prob
    # Its gradient is an estimate of that of minus the entropy of queries.
    certain = jax.lax.stop_gradient(spent.query_log_prob) * spent.query_log_prob
    certain += jnp.sum(jax.scipy.special.xlogy(spent.answer, spent.answer), -1)
    surrogate = jnp.mean(losses + score * log_prob)
    return surrogate, jnp.mean(certain), jnp.mean(losses)

  def loss(params, parameters, weights, key, entropy):
    keys = jax.random.split(key, weights.shape)
    over = jax.vmap(jax.vmap(of_particle, (None, 0, 0)), (None, 0, 0))
    surrogate, certain, losses = over(params, parameters, keys)
    total = jnp.sum(weights * (surrogate + entropy * certain))
    return total, losses

  return loss


def _climb(problem, climber, numbers, adversary, grads, weights, radii):
  """Instances one step up their losses, none out of its class."""
  radius = radii[:, None]
  over = lambda fn: jax.vmap(jax.vmap(fn))

  def barrier(parameters):
    rho = over(lambda p: difficulty(problem, problem.instance(p)))(parameters)
    inside = jnp.maximum(1 - rho / radius, 1e-3)
    return jnp.sum(jnp.log(inside)), rho

  slopes, before = jax.grad(barrier, has_aux=True)(adversary.parameters)
  # Every instance climbs for itself, whatever its weight.
  own = grads / weights[..., None]
  up = jax.tree.map(lambda g, b: -g - numbers.barrier * b, own, slopes)
  changes, opt_state = climber.update(up, adversary.opt_state)
  moved = adversary.parameters + changes
  _, after = barrier(moved)
  inside = (after <= radius) | (after <= before)
  parameters = jnp.where(inside[..., None], moved, adversary.parameters)
  return adversary._replace(parameters=parameters, opt_state=opt_state)


def learn(
  problem: Exploration,
  policy: PolicyFn,
  params: Params,
  key: PRNGKeyArray,
  radii: Sequence[float],
  numbers: Robust,
  *,
  loss_fn: LossFn = misidentification,
) -> tuple[Found, Float[Array, ' K']]:
  """The whole method: floors class by class, then one policy for all.

  Each class begins with the policy of the one before; all of them are one
  compiled program.

  Args:
    problem: what may be asked and answered.
    policy: to be learned.
    params: where it begins.
    key: consumed.
    radii: of the classes, rising.
    numbers: of the training.
    loss_fn: of an answer.

  Returns:
    The policy, and the floors.

  Raises:
    ValueError: on radii that do not rise.
  """
  if not radii or any(a >= b for a, b in itertools.pairwise(radii)):
    raise ValueError(f'radii={list(radii)} must rise')
  run: Callable[..., Found] = jax.jit(
    lambda params, key, radii, floors: minimax(
      problem, policy, params, key, radii, floors, numbers, loss_fn=loss_fn
    )
  )
  zero, floors = jnp.zeros((1,), jnp.float32), []
  for k, radius in enumerate(radii):
    radius = jnp.array([radius], jnp.float32)
    found = run(params, jax.random.fold_in(key, k), radius, zero)
    params, floors = found.params, [*floors, found.losses]
  floors = jnp.concatenate(floors)
  last_key = jax.random.fold_in(key, len(radii))
  return run(params, last_key, jnp.array(radii, jnp.float32), floors), floors


def expected_losses(
  problem: Exploration,
  policy: PolicyFn,
  params: Params,
  key: PRNGKeyArray,
  parameters: Float[Array, 'J p'],
  budget: int,
  num_inquiries: int,
  *,
  loss_fn: LossFn = misidentification,
) -> Float[Array, ' J']:
  """Estimates of the loss on some instances, the same draws for each policy."""

  def of_instance(item):
    key, parameters = item
    theta = problem.instance(parameters)
    one = lambda key: loss_fn(
      problem,
      inquire(problem, policy, params, key, theta, budget).answer,
      theta,
    )
    return jnp.mean(jax.vmap(one)(jax.random.split(key, num_inquiries)))

  fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
  keys = fold(key, jnp.arange(len(parameters)))
  return jax.lax.map(of_instance, (keys, parameters), batch_size=64)


def check(numbers: Robust) -> None:
  """Raises ValueError with a line for what means nothing."""
  for name, least in (
    ('budget', 1),
    ('num_particles', 1),
    ('num_inquiries', 2),
    ('num_steps', 1),
  ):
    if getattr(numbers, name) < least:
      raise ValueError(
        f'{name}={getattr(numbers, name)}, expected at least {least}'
      )
