"""Protocols of streams: which images arrive when."""

from ttc.adaptation.protocols.orders import (
  blocks,
  dirichlet,
  exponential_prior,
  label_shift,
  moving_label_shift,
  shuffled,
  sorted_by_class,
  zipf_prior,
)
from ttc.adaptation.protocols.schedules import (
  Schedule,
  continual,
  gather,
  gradual,
  mixed,
  recurring,
  reset_each_shift,
  to_unit,
  visit,
  with_clean_visits,
)

__all__ = [
  'Schedule',
  'blocks',
  'continual',
  'dirichlet',
  'exponential_prior',
  'gather',
  'gradual',
  'label_shift',
  'mixed',
  'moving_label_shift',
  'recurring',
  'reset_each_shift',
  'shuffled',
  'sorted_by_class',
  'to_unit',
  'visit',
  'with_clean_visits',
  'zipf_prior',
]
