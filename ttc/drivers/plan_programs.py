"""The programs that a slice would run, as functions of shapes.

  sample  `sampling.sample` of a prefilled batch
  train   an update of `finetuning` from a rollout: gradients by prompts, GRPO,
          Adam
  es      a generation of `metarl.evolution`: lives on grid worlds by LPG
  ippo    an update of `agents.ippo` on SMAX

Nothing is ever made of them but shapes that say where their arrays lie.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from ttc import agents, envs, finetuning, metarl, models, sampling
from ttc.scaling import slices
from ttc.types import Generation, Prompt


class Program(NamedTuple):
  """What is compiled.

  Attributes:
    function: in `jax.jit`.
    shapes: of its arguments, on a mesh.
    of_a_step: whether one turn of its loop is looked at, not all of it.
  """

  function: Any
  shapes: tuple[Any, ...]
  of_a_step: bool = False


class Training(NamedTuple):
  """How a model is trained.

  Attributes:
    lora_rank: of an adapter, beside weights that stay; 0 to train all.
    group_parts: that a group of responses is cut into. A device computes one
      part of one prompt at a time.
  """

  lora_rank: int = 0
  group_parts: int = 1


def sample(
  config: models.TransformerConfig, mesh: Mesh | AbstractMesh, work: slices.Work
) -> Program:
  """Decoding; layers are scanned, so that a compiler sees one.

  Raises:
    ValueError: if problems do not come out even.
  """
  _check_problems(mesh, work)
  attention = None
  if work.kv_budget is not None:
    attention = models.SparseAttention(
      block_size=work.block_size, budget=work.kv_budget
    )
  config = dataclasses.replace(config, scan_layers=True)
  model = models.transformer(config, attention)
  function, (params, state, keys) = sample_program(model, work)
  cache = lambda x: _put(
    x, models.cache_shardings(x, mesh, batch_axis=model.batch_axis)
  )
  rows = _rows(state._replace(prefix=None, suffix=None), mesh)
  state = rows._replace(prefix=cache(state.prefix), suffix=cache(state.suffix))
  params = _put(params, models.param_shardings(params, mesh))
  return Program(function, (params, state, _rows(keys, mesh)), of_a_step=True)


def sample_program(
  model: models.LanguageModel, work: slices.Work
) -> tuple[Any, tuple[Any, ...]]:
  """`sampling.sample` of a prefilled batch, and the shapes that it takes.

  Args:
    model: a transformer.
    work: what is decoded.

  Returns:
    The function in `jax.jit`, and shapes of parameters, state and keys. Caches
    are written where they lie, as `sampling.decode_stream` has it.
  """
  B = work.num_problems
  stop = sampling.stop_rules(model.vocab_size, [0])

  def arguments():
    params = model.init(jax.random.key(0))
    prompt = Prompt(
      jnp.zeros((B, work.prompt_tokens), jnp.int32), jnp.zeros(B, jnp.int32)
    )
    state = sampling.prefill(
      model, params, prompt, work.num_samples, work.new_tokens
    )
    return params, state, jax.random.split(jax.random.key(0), B)

  def sample(params, state, keys):
    out = sampling.sample(model, params, keys, state, stop)
    return out.generation, out.state

  return jax.jit(sample, donate_argnums=1), jax.eval_shape(arguments)


def train(
  config: models.TransformerConfig,
  mesh: Mesh | AbstractMesh,
  work: slices.Work,
  training: Training = Training(),  # noqa: B008
) -> Program:
  """An update; float32 is trained, bfloat16 computed in and kept frozen.

  What is trained, all or an adapter, lies by `models.ZERO`, and so do its
  gradients and moments. Frozen weights beside an adapter lie as for decoding.

  Raises:
    ValueError: if problems, or parts, do not come out even.
  """
  _check_problems(mesh, work)
  config = dataclasses.replace(config, scan_layers=True, many_rows=True)
  model = models.transformer(config, remat=True)
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-6))
  parts, rank = training.group_parts, training.lora_rank
  update = finetuning.make_policy_update(
    model,
    optimizer,
    adapt=finetuning.apply_lora if rank else finetuning.all_parameters,
    num_micro_batches=work.num_problems * parts // mesh.shape['data'],
    group_parts=parts,
    dtype='bfloat16',
  )

  def arguments():
    key = jax.random.key(0)
    frozen = model.init(key)
    trained = finetuning.init_lora(key, frozen, rank) if rank else frozen
    trained = jax.tree.map(lambda x: x.astype(jnp.float32), trained)
    state = finetuning.init_state(lambda key: trained, optimizer, key)
    return state, frozen if rank else None, _rollout(work)

  state, frozen, rollout = jax.eval_shape(arguments)
  places = finetuning.state_shardings(
    state, optimizer, models.param_shardings(state.params, mesh, models.ZERO)
  )
  if frozen is not None:
    frozen = _put(frozen, models.param_shardings(frozen, mesh))
  function = jax.jit(update, donate_argnums=0, out_shardings=(places, None))
  return Program(function, (_put(state, places), frozen, _rows(rollout, mesh)))


def es(mesh: Mesh, num_pairs: int) -> Program:
  """A generation; its pairs over all devices.

  Raises:
    ValueError: if these do not come out even.
  """
  rule, task = metarl.lpg(), metarl.MetaTask(envs.grid_world())
  learner = metarl.evolution(
    metarl.final_return(task, rule), optax.adam(1e-2), num_pairs, mesh=mesh
  )
  init = lambda key: learner.init(rule.init(key), key)
  whole = NamedSharding(mesh, PartitionSpec())
  state = _put(jax.eval_shape(init, jax.random.key(0)), whole)
  update = jax.jit(learner.update, donate_argnums=0, out_shardings=whole)
  return Program(update, (state,))


def ippo(mesh: Mesh, num_envs: int) -> Program:
  """An update; its environments over all devices.

  Raises:
    ValueError: if these do not come out even.
  """
  learner = agents.ippo(envs.smax('3m'), agents.PPO(num_envs=num_envs))
  state = jax.eval_shape(learner.init, jax.random.key(0))
  places = agents.env_shardings(state, mesh)
  whole = NamedSharding(mesh, PartitionSpec())
  update = jax.jit(
    learner.update, donate_argnums=0, out_shardings=(places, whole)
  )
  return Program(update, (_put(state, places),))


def _rollout(work: slices.Work) -> finetuning.Rollout:
  """As it comes from `sampling.generate` and a verifier."""
  rows = work.num_problems, work.num_samples
  tokens = *rows, work.new_tokens
  whole = lambda *shape: jnp.zeros(shape, jnp.int32)
  prompt = Prompt(whole(rows[0], work.prompt_tokens), whole(rows[0]))
  real = jnp.zeros(tokens, jnp.float32)
  responses = Generation(whole(*tokens), whole(*rows), real, real, whole(*rows))
  return finetuning.Rollout(prompt, responses, jnp.zeros(rows, jnp.float32))


def _check_problems(mesh: Mesh | AbstractMesh, work: slices.Work) -> None:
  copies = mesh.shape['data']
  if work.num_problems % copies:
    raise ValueError(
      f'--problems={work.num_problems} must be a multiple of the {copies} '
      'copies'
    )


def _rows(tree: Any, mesh: Mesh | AbstractMesh) -> Any:
  """Shapes whose first axes are over `data`."""
  return _put(tree, models.cache_shardings(tree, mesh, heads_axis=None))


def _put(tree: Any, places: Any) -> Any:
  """Shapes that say where they lie; of all leaves, or of each."""
  put = lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)
  return jax.tree.map(put, tree, jax.tree.broadcast(places, tree))
