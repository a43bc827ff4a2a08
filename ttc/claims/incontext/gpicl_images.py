"""What learned on points classifies images in context (2212.04458)."""

import numpy as np

from ttc.claims.claim import Claim, text
from ttc.tasks import images
from ttc.testbeds import in_context_classification as bed

NUM_TASKS = 2**16
NAMES = images.NAMES


def measure(seed, size, cache):
  """Accuracies along sequences of real images, and of nearest class means."""
  num_sequences = size.problems(1024)
  data = {name: bed.of_images(images.read_images(name)) for name in NAMES}
  found = bed.measure(
    'transformer', 64, NUM_TASKS, seed, size, cache, num_sequences, data
  )
  linear = {
    name: bed.measure_references(NUM_TASKS, seed, num_sequences, data[name])
    for name in NAMES
  }
  return {'transformer': found, 'references': linear}


def last(x):
  """At the last ten positions, of each seed."""
  return x[:, -10:].mean(axis=1)


def shows(name):
  """How far a transformer comes on a data set, and a linear classifier."""

  def say(data):
    own, linear = data['transformer'][name], data['references'][name]['linear']
    return (
      f'{name}: {100 * own[:, 0].mean():.0f} to {100 * last(own).mean():.1f}, '
      'a linear classifier trained on those before '
      f'{100 * last(linear).mean():.1f}'
    )

  return say


CLAIM = Claim(
  'a transformer, from points to images',
  '2212.04458',
  'trained on Gaussian templates only, it classifies images that it has never '
  'seen: from 10% at the first example to > 40% at the last ten of 50',
  measure,
  checks=[
    text(shows(name), lambda d, n=name: np.all(last(d['transformer'][n]) > 0.4))
    for name in NAMES
  ],
  controls=[
    text(
      lambda d: (
        f'random labels {100 * last(d["transformer"]["random"]).mean():.1f}'
      ),
      lambda d: abs(last(d['transformer']['random']).mean() - 0.1) < 0.01,
    )
  ],
  seeds=range(3),
  because=('it has not been run at full size yet'),
)
