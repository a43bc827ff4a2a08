import json

import jax
import numpy as np
import pytest

from ttc.drivers.train_classifier import train_classifier
from ttc.testbeds import image_classifiers
from ttc.testbeds.image_classifiers import ClassifierRecipe

TINY = {
  'dataset': 'painted',
  'num_epochs': 0.06,
  'batch_size': 40,
  'checkpoint_every': 2,
}


@pytest.mark.slow
def test_trained_kept_measured_and_resumed(tmp_path):
  pytest.importorskip('matplotlib')
  config = {**TINY, 'cache': str(tmp_path / 'cache')}
  train_classifier(config, tmp_path / 'run')
  rows = [
    json.loads(line)
    for line in (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()
  ]
  assert [row['step'] for row in rows] == [1, 2, 3, 4, 5, 6]
  found = json.loads((tmp_path / 'run' / 'evaluation.json').read_text())
  assert 0 < found['batch']['error'] < 1
  assert (tmp_path / 'run' / 'loss.png').stat().st_size > 1000
  # What adaptation finds in the cache is this network.
  recipe = ClassifierRecipe(dataset='painted', num_epochs=0.06, batch_size=40)
  kept = image_classifiers.trained_classifier(recipe, 0, tmp_path / 'cache')
  # Taken up from its last checkpoint, nothing is left to do.
  train_classifier({**config, 'cache': str(tmp_path / 'other')}, tmp_path / 'b')
  again = image_classifiers.trained_classifier(recipe, 0, tmp_path / 'other')
  jax.tree.map(np.testing.assert_array_equal, kept, again)
  train_classifier(config, tmp_path / 'run')
  assert len((tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()) == 6


@pytest.mark.parametrize(
  ('changed', 'says'),
  [
    ({'dataset': 'cifar10'}, "config.dataset='cifar10' must be one of mnist"),
    (
      {'num_epochs': 0.0},
      'config.num_epochs=0.0 must be a finite number above',
    ),
    ({'batch_size': 0}, 'config.batch_size=0 must be a whole number from 1'),
    ({'learning_rate': -1.0}, 'config.learning_rate=-1.0 must be a finite'),
    ({'epochs': 1}, 'config.epochs is not known'),
  ],
)
def test_bad_options_are_refused(changed, says, tmp_path):
  with pytest.raises(ValueError, match=says):
    train_classifier({**TINY, **changed}, tmp_path)
