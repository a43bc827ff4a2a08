"""Three sizes of a model of words of S4, and a verifier right in four of five.

As many tokens of training for each size, so that the small ones stay weak.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, sampling, search, tasks, verifiers
from ttc.testbeds.train import Directory, Recipe, trained_transformer
from ttc.testbeds.world import Size

SIZES = {'small': (1, 16), 'medium': (2, 32), 'large': (2, 64)}  # layers, width
TASK = tasks.permutation_word_problem('s4', 12, num_generators=3, min_length=1)
LENGTHS = {'easy': (5, 6), 'hard': (11, 12)}  # factors of a word
NUM_PROBLEMS = 64  # of a seed and difficulty
RATES = (0.8, 0.2)  # yes of the verifier to right and to wrong samples
NUM_STEPS = 1200


def sized_model(
  name: str, seed: int, size: Size, cache: Directory
) -> models.Loaded:
  """A trained model of one of `SIZES`."""
  train_task = tasks.on_split(TASK, 'train')

  def batch_fn(key):
    draw = lambda key: tasks.training_sequence(train_task.generate(key))
    sequence = jax.vmap(draw)(jax.random.split(key, 64))
    return sequence.tokens, sequence.is_trace

  recipe = Recipe((size.steps(NUM_STEPS),), learning_rate=5e-3)
  return trained_transformer(
    f'exchange_{name}', config_of(name), recipe, [batch_fn], seed, cache
  )


def num_params(name):
  """Parameters besides the embeddings, as Kaplan et al. count them."""
  layers, width = SIZES[name]
  return layers * (4 * width**2 + 3 * width * 3 * width)


def config_of(name):
  """Shape of the model of a size."""
  layers, width = SIZES[name]
  return models.TransformerConfig(
    vocab_size=TASK.vocab_size,
    num_layers=layers,
    embed_dim=width,
    mlp_dim=3 * width,
    num_heads=4,
    num_kv_heads=4,
    head_dim=width // 4,
    max_length=TASK.prompt_length + TASK.response_length,
  )


def draw_problems(key, num_problems):
  """Unseen words, as many of each difficulty, the easy ones first."""
  generate = jax.jit(jax.vmap(tasks.on_split(TASK, 'test').generate))
  problems = jax.device_get(
    generate(jax.random.split(key, 8 * max(num_problems, NUM_PROBLEMS)))
  )
  lengths = problems.data.num_steps
  rows = [
    np.flatnonzero((lengths >= low) & (lengths <= high))[:num_problems]
    for low, high in LENGTHS.values()
  ]
  return jax.tree.map(lambda x: x[np.concatenate(rows)], problems)


@functools.partial(jax.jit, static_argnums=(0, 4))
def respond(model, params, problems, key, num_samples):
  """Greedy answers, and verified samples."""
  sample_key, verdict_key = jax.random.split(key)
  prompt = tasks.to_prompt(problems)
  answer_fn = tasks.answer_fn(TASK, problems)
  draw = lambda n, temperature: sampling.generate(
    params,
    jax.random.split(sample_key, problems.answer.size),
    prompt,
    n,
    model=model,
    capacity=TASK.response_length,
    stop=sampling.stop_rules(TASK.vocab_size, [TASK.eos_id]),
    sampling=sampling.SamplingParams(temperature=temperature),
  )
  greedy = answer_fn(prompt, draw(1, 0.0))[:, 0]

  def score_fn(prompt, samples):
    right = answer_fn(prompt, samples) == problems.answer[:, None]
    verdicts = verifiers.flip_verdicts(verdict_key, right, *RATES)
    return verdicts[..., 0].astype(jnp.float32)

  samples = search.observe(prompt, draw(num_samples, 1.0), answer_fn, score_fn)
  return greedy, samples
