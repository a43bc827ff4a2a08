import numpy as np
import pytest

from ttc.io import adaptation_plots as plots

COUNTS = np.array([0.0, 10.0, 30.0])


def test_calibration_error_of_a_diagram():
  one = plots.Reliability(
    np.array([0.0, 5.0, 27.0]), np.array([0.0, 7, 21]), COUNTS
  )
  assert one.error == pytest.approx((2 + 6) / 40)
  nothing = plots.Reliability(0 * COUNTS, 0 * COUNTS, 0 * COUNTS)
  assert nothing.error == 0


@pytest.mark.parametrize('num_methods', [1, 5])
def test_pictures_are_written(num_methods, tmp_path):
  pytest.importorskip('matplotlib')
  names = [f'method {i}' for i in range(num_methods)]
  steps, values = np.arange(1, 5), np.full((4, 3), 50.0)
  labels = np.array([0, 1, 1])
  shown = plots.Shown(
    'some_noise',
    np.zeros((3, 6, 6, 1)),
    labels,
    {name: np.array([0, 1, 0]) for name in names},
  )
  plots.save_stream_errors(
    tmp_path / 'errors.png',
    {name: (steps, values) for name in names},
    [(0, 'fog'), (2, 'snow')],
    title='errors',
  )
  plots.save_reliability(
    tmp_path / 'reliability.png',
    {name: plots.Reliability(COUNTS / 2, COUNTS / 3, COUNTS) for name in names},
    title='reliability',
  )
  plots.save_predictions(
    tmp_path / 'pictures.png', [shown, shown], ('cat', 'dog'), title='pictures'
  )
  plots.save_sweep(
    tmp_path / 'sweep.png',
    'learning_rate',
    10.0**-steps,
    {name: values for name in names},
    title='sweep',
  )
  for path in ('errors', 'reliability', 'pictures', 'sweep'):
    assert (tmp_path / f'{path}.png').stat().st_size > 1000
