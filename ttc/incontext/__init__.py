"""Models that learn inside their context, and what they are measured by."""

from ttc.incontext.classification import (
  check_length,
  classification_loss,
  hits,
  predict,
  with_random_labels,
)
from ttc.incontext.linear_estimators import (
  cross_validated_ridge,
  posterior_mean,
  ridge,
  squared_error,
)
from ttc.incontext.linear_tasks import (
  Contexts,
  LinearTasks,
  draw_contexts,
  isotropic_tasks,
  subspace_tasks,
)
from ttc.incontext.memories import (
  Memory,
  fast_weights_memory,
  lstm_memory,
  transformer_memory,
)
from ttc.incontext.prefix_classifiers import linear_softmax, nearest_class_mean
from ttc.incontext.projected_tasks import (
  Labelled,
  ProjectedTasks,
  Sequences,
  draw_sequences,
  gaussian_templates,
  normalised,
  projected_tasks,
  unseen,
)
from ttc.incontext.regressor import (
  Regression,
  Regressor,
  in_context_regressor,
  regression_errors,
  regression_loss,
)

__all__ = [
  'Contexts',
  'Labelled',
  'LinearTasks',
  'Memory',
  'ProjectedTasks',
  'Regression',
  'Regressor',
  'Sequences',
  'check_length',
  'classification_loss',
  'cross_validated_ridge',
  'draw_contexts',
  'draw_sequences',
  'fast_weights_memory',
  'gaussian_templates',
  'hits',
  'in_context_regressor',
  'isotropic_tasks',
  'linear_softmax',
  'lstm_memory',
  'nearest_class_mean',
  'normalised',
  'posterior_mean',
  'predict',
  'projected_tasks',
  'regression_errors',
  'regression_loss',
  'ridge',
  'squared_error',
  'subspace_tasks',
  'transformer_memory',
  'unseen',
  'with_random_labels',
]
