"""Variants of methods keep the family's promises too, among the slow tests."""

import pytest

VARIANTS = (
  'cotta_views', 'episodic_tent', 'eta', 'label_shift', 'petal_at_random',
  'rdumb', 'rmt_source_free', 'roid_prior',
)  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
  ends = tuple(f'_{name}' for name in VARIANTS)
  for item in items:
    if item.path.name == 'all_adapters_test.py' and item.name.endswith(ends):
      item.add_marker(pytest.mark.slow)
