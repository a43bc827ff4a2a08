"""Small models that retrieve facts from a long prompt, trained from scratch.

Sixteen facts lie among 240 words without meaning; a response follows them for
1 to 12 hops. Models learn to retrieve from short prompts and are then shown
long ones.
"""

import functools
import pathlib

import jax
import optax
from absl import flags

from ttc import finetuning, models, sampling, tasks
from ttc.kernels import block_topk

NUM_NODES, NUM_HOPS, NUM_FILLERS = 16, 12, 240
SIZES = {'small': (1, 32), 'medium': (2, 64), 'large': (3, 96)}  # layers, width
_STEPS = ((16, 700), (NUM_FILLERS, 150))  # fillers, training steps


def task_of(num_fillers=NUM_FILLERS, num_hops=NUM_HOPS):
  """The task at some length of prompt and response."""
  return tasks.associative_recall(NUM_NODES, num_hops, num_fillers=num_fillers)


def config_of(size):
  """Shape of the model of a size."""
  layers, width = SIZES[size]
  return models.TransformerConfig(
    vocab_size=task_of().vocab_size,
    num_layers=layers,
    embed_dim=width,
    mlp_dim=2 * width,
    num_heads=4,
    num_kv_heads=2,
    head_dim=width // 2,
    max_length=512,
    rope_theta=1e6,  # content matters, not distance
  )


def trained(size, seed):
  """Parameters of a trained model; trains it unless that was done before."""
  directory = pathlib.Path(flags.FLAGS.workdir) / f'recall_{size}_{seed}'
  if not (directory / 'transformer.json').exists():
    params = train(config_of(size), jax.random.key(seed))
    models.save_checkpoint(directory, config_of(size), params)
  return models.load(str(directory)).params


def train(config, key):
  """Next-token prediction of traces, short prompts first."""
  model = models.transformer(config)
  total = sum(steps for _, steps in _STEPS)
  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.adamw(
      optax.warmup_cosine_decay_schedule(0.0, 5e-3, 100, total), b2=0.98
    ),
  )
  step = finetuning.make_train_step(
    lambda params, batch: finetuning.next_token_loss(model, params, *batch),
    optimizer,
  )
  state = finetuning.init_state(model.init, optimizer, key)
  for num_fillers, num_steps in _STEPS:
    task = task_of(num_fillers)

    def batch_fn(key, task=task):
      problems = jax.vmap(task.generate)(jax.random.split(key, 64))
      sequence = jax.vmap(tasks.training_sequence)(problems)
      return sequence.tokens, sequence.is_trace

    run = functools.partial(finetuning.run_steps, step, batch_fn)
    state, metrics = jax.jit(run, static_argnums=1)(state, num_steps)
    print(f'  {num_fillers} fillers: loss {float(metrics["loss"][-1]):.3f}')
  return state.params


def with_budget(rule, block_size, budget):
  """Sparse attention in all layers; a window takes all of its budget."""
  local = block_size
  if rule is block_topk.sink_window:
    local = budget - 2 * block_size + 1
  return models.SparseAttention(
    rule, block_size, budget, sink=1, local=local, dense_layers=()
  )


def respond(
  size, seed, attention, num_samples=1, temperature=0.0, num_problems=128
):
  """Task, unseen problems, and responses of a trained model to them."""
  model = models.transformer(config_of(size), attention)
  task = tasks.on_split(task_of(), 'test')

  @jax.jit
  def run(params, key):
    keys = jax.random.split(key, num_problems)
    problems = jax.vmap(task.generate)(keys)
    responses = sampling.generate(
      params,
      keys,
      tasks.to_prompt(problems),
      num_samples,
      model=model,
      capacity=task.response_length,
      stop=sampling.stop_rules(task.vocab_size, [task.eos_id]),
      sampling=sampling.SamplingParams(temperature=temperature),
    )
    return problems, responses

  return task, *run(trained(size, seed), jax.random.key(300 + seed))
