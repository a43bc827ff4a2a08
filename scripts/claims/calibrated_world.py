"""The calibrated base: small models whose answers follow a known law.

Trained on noisy traces of words of S3, they answer rightly with a probability
that has a closed form, and wrong answers are uniform. Samples are drawn once
for all claims.
"""

import functools
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from ttc import models, sampling, search, tasks

_ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

LENGTH, NOISE, NUM_VALUES = 8, 0.1, 6  # of configs/pretrain_s3.py
NUM_PROBLEMS, NUM_SAMPLES = 256, 32  # of a seed


def base_law():
  """Law of the answers of the base: the right one, then the wrong ones."""
  right = tasks.noisy_chain_accuracy(NOISE, LENGTH, NUM_VALUES)
  wrong = (1 - right) / (NUM_VALUES - 1)
  return jnp.array([right] + [wrong] * (NUM_VALUES - 1))


def train_base(num_seeds, config='pretrain_s3'):
  """Directories of the trained models; trains those that are missing."""
  name = {
    'pretrain_s3': 'base',
    'pretrain_s3:draft': 'draft',
    'pretrain_s3:generators': 'generators',
  }[config]
  file, *size = config.split(':')
  directories = [
    pathlib.Path(flags.FLAGS.workdir) / f'{name}_{seed}'
    for seed in range(num_seeds)
  ]
  runs = []
  for seed, directory in enumerate(directories):
    if not (directory / 'model' / 'transformer.json').exists():
      command = [sys.executable, str(_ROOT / 'scripts' / 'pretrain.py')]
      path = str(_ROOT / 'configs' / f'{file}.py')
      command += [f'--config={":".join([path, *size])}']
      command += [f'--workdir={directory}', f'--config.seed={seed}']
      runs.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
  if any([run.wait() for run in runs]):  # a list: wait for all
    sys.exit('reproduce: training the base failed')
  return [directory / 'model' for directory in directories]


def train_pair(num_seeds):
  """Directories of the base and of a smaller model that drafts for it."""
  drafts = train_base(num_seeds, config='pretrain_s3:draft')
  return list(zip(train_base(num_seeds), drafts, strict=True))


@functools.cache
def base_samples(num_seeds):
  """Samples on unseen problems, seeds one after another, and the gold."""
  task = tasks.permutation_word_problem('s3', LENGTH, noise=NOISE)
  test_task = tasks.on_split(task, 'test')

  @functools.partial(jax.jit, static_argnums=0)
  def draw(model, params, key):
    data_key, sample_key = jax.random.split(key)
    keys = jax.random.split(data_key, NUM_PROBLEMS)
    problems = jax.vmap(test_task.generate)(keys)
    prompt = tasks.to_prompt(problems)
    generation = sampling.generate(
      params,
      jax.random.split(sample_key, NUM_PROBLEMS),
      prompt,
      NUM_SAMPLES,
      model=model,
      capacity=task.response_length,
      stop=sampling.stop_rules(task.vocab_size, [task.eos_id]),
    )
    answer_fn = tasks.answer_fn(task, problems)
    return search.observe(prompt, generation, answer_fn), problems.answer

  drawn = []
  for seed, directory in enumerate(train_base(num_seeds)):
    loaded = models.load(str(directory))
    drawn.append(draw(loaded.model, loaded.params, jax.random.key(100 + seed)))
  join = lambda *leaves: np.concatenate(leaves)
  return jax.tree.map(join, *jax.device_get(drawn))
