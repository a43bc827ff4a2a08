r"""MAML: parameters from which a few steps lead far (Finn et al., 1703.03400).

A task has data to learn from, its support, and data to be judged by, its query;
the two losses may differ, so that what is adapted to needs no labels:

.. math::
  \theta_i^{(j + 1)} = \theta_i^{(j)}
    - \alpha \odot \nabla L^{in}(\theta_i^{(j)}, S_i), \qquad
  \min_{\theta} \frac1B \sum_i L^{out}(\theta_i^{(k)}, Q_i)

The meta-gradient is exact: derivatives go through all inner steps, second ones
of the inner loss included; the first-order form leaves these out. Rates
:math:`\alpha` may be learned, one for each leaf of the parameters (as Meta-SGD,
1707.09835, has them for each number). Costs of a task: `k` gradients forward,
about three times as much with the meta-gradient, memory of `k` steps.

`adapt` is the inner loop on its own, for whoever adapts at test time; policies
that adapt to environments are in `ttc.metarl.maml_policies`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from ttc.agents.learner import Metrics, env_keys
from ttc.metarl.lifetimes import where
from ttc.types import Params

# `(params, data) -> loss`.
LossFn: TypeAlias = Callable[[Params, Any], Float[Array, '']]
Rates: TypeAlias = Any  # a number, or one for each leaf of the params


def adapt(
  params: Params,
  loss_fn: LossFn,
  data: Any,
  rates: Rates,
  num_steps: int,
  mask: Bool[Array, ''] | bool | None = None,
  *,
  first_order: bool = False,
) -> Params:
  """Gradient steps from given parameters, to be differentiated or not.

  Args:
    params: to begin with.
    loss_fn: that steps go down.
    data: of the loss, the same in every step.
    rates: a number, or a pytree like `params` of numbers or arrays; 0 leaves a
      leaf as it is.
    num_steps: `k`; static.
    mask: whether to adapt at all, such as to one of several segments under
      `vmap`; None for yes.
    first_order: whether derivatives of the result take the gradients for
      constants; static.

  Returns:
    Parameters after the steps.
  """
  if jax.tree.structure(rates).num_nodes == 1:
    rates = jax.tree.map(lambda _: rates, params)

  def step(now, _):
    grads = jax.grad(loss_fn)(now, data)
    if first_order:
      grads = jax.lax.stop_gradient(grads)
    now = jax.tree.map(lambda x, rate, g: x - rate * g, now, rates, grads)
    return now, None

  adapted, _ = jax.lax.scan(step, params, length=num_steps)
  return adapted if mask is None else where(jnp.asarray(mask), adapted, params)


class Task(NamedTuple):
  """What is learned from, and what is judged by; pytrees of arrays."""

  support: Any
  query: Any


class Meta(NamedTuple):
  """What is learned over tasks.

  Attributes:
    params: that adaptation begins with.
    rates: of each leaf.
  """

  params: Params
  rates: Rates


def meta_loss(
  meta: Meta,
  task: Task,
  inner_loss: LossFn,
  outer_loss: LossFn,
  num_steps: int,
  *,
  first_order: bool = False,
) -> Float[Array, '']:
  """The query's loss after adaptation to the support, of one task."""
  adapted = adapt(
    meta.params,
    inner_loss,
    task.support,
    meta.rates,
    num_steps,
    first_order=first_order,
  )
  return outer_loss(adapted, task.query)


class MAMLState(NamedTuple):
  """Everything that meta-training needs to go on."""

  meta: Meta
  opt_state: optax.OptState
  updates: Int[Array, '']
  key: PRNGKeyArray


class MAML(NamedTuple):
  """A pair of pure functions.

  Attributes:
    init: `(params, key) -> state`.
    update: `state -> (state, metrics)`, means over a batch of tasks.
  """

  init: Callable[[Params, PRNGKeyArray], MAMLState]
  update: Callable[[MAMLState], tuple[MAMLState, Metrics]]


def maml(
  inner_loss: LossFn,
  outer_loss: LossFn,
  sample_task: Callable[[PRNGKeyArray], Task],
  optimizer: optax.GradientTransformation,
  num_tasks: int,
  num_steps: int = 1,
  *,
  rate: float = 0.01,
  learn_rates: bool = False,
  first_order: bool = False,
  mesh: Mesh | None = None,
) -> MAML:
  """Meta-training on batches of tasks.

  Args:
    inner_loss: of the support.
    outer_loss: of the query.
    sample_task: `key -> task`.
    optimizer: of the meta-parameters.
    num_tasks: `B` of a batch.
    num_steps: `k`, inner ones.
    rate: of these; where rates are learned, at first.
    learn_rates: one for each leaf.
    first_order: leave second derivatives out.
    mesh: with an axis `data`, over which tasks are spread; None for one device.

  Returns:
    Init and update.

  Raises:
    ValueError: if tasks do not come out even.
  """
  check_tasks(num_tasks, mesh)

  def init(params, key):
    return init_state(params, rate, learn_rates, optimizer, key)

  def loss(meta, tasks):
    each = lambda task: meta_loss(
      meta,
      task,
      inner_loss,
      outer_loss,
      num_steps,
      first_order=first_order,
    )
    return jnp.mean(jax.vmap(each)(tasks))

  def update(state):
    keys = task_keys(state, num_tasks, mesh)
    tasks = jax.vmap(sample_task)(keys)
    value, grads = jax.value_and_grad(loss)(state.meta, tasks)
    meta, opt_state = descend(
      optimizer, learn_rates, state.meta, state.opt_state, grads
    )
    state = MAMLState(meta, opt_state, state.updates + 1, state.key)
    return state, {'meta_loss': value}

  return MAML(init, update)


def init_state(
  params: Params,
  rate: float,
  learn_rates: bool,
  optimizer: optax.GradientTransformation,
  key: PRNGKeyArray,
) -> MAMLState:
  """Before the first update; every leaf has the same rate."""
  rates = jax.tree.map(lambda x: jnp.asarray(rate, x.dtype), params)
  meta = Meta(params, rates)
  opt_state = optimizer.init(meta if learn_rates else meta.params)
  return MAMLState(meta, opt_state, jnp.zeros((), jnp.int32), key)


def descend(
  optimizer: optax.GradientTransformation,
  learn_rates: bool,
  meta: Meta,
  opt_state: optax.OptState,
  grads: Meta,
) -> tuple[Meta, optax.OptState]:
  """A step of the meta-parameters; of rates only if they are learned."""
  own = lambda meta: meta if learn_rates else meta.params
  changes, opt_state = optimizer.update(own(grads), opt_state, own(meta))
  after: Any = optax.apply_updates(own(meta), changes)
  return (after if learn_rates else Meta(after, meta.rates)), opt_state


def task_keys(
  state: MAMLState, num_tasks: int, mesh: Mesh | None
) -> Key[Array, ' B']:
  """Keys of a batch of tasks, on their devices: what follows goes with them."""
  keys = env_keys(jax.random.fold_in(state.key, state.updates), num_tasks)
  if mesh is None:
    return keys
  return jax.lax.with_sharding_constraint(keys, NamedSharding(mesh, P('data')))


def check_tasks(num_tasks: int, mesh: Mesh | None) -> None:
  """Raises ValueError for a batch that devices cannot share evenly."""
  devices = 1 if mesh is None else mesh.shape['data']
  if num_tasks < 1 or num_tasks % devices:
    raise ValueError(
      f'maml: num_tasks={num_tasks}, expected a multiple of {devices} devices'
    )
