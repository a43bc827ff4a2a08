import csv
import importlib.util
import json
import pathlib
import tempfile

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from etils import epath

from ttc import io


class MetricWritersTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.directory = pathlib.Path(
      self.enter_context(tempfile.TemporaryDirectory())
    )

  def test_jsonl_lines_in_order_and_appended_on_resume(self):
    path = self.directory / 'deep' / 'metrics.jsonl'
    writer = io.JsonlWriter(path)
    writer.write_scalars(1, {'loss': jnp.float32(0.5), 'n': np.int32(3)})
    writer.write_texts(1, {'sample': 'a\n"b"'})
    writer.close()
    writer = io.JsonlWriter(path)
    writer.write_scalars(2, {'loss': 0.25})
    writer.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    self.assertEqual(
      lines,
      [
        {'step': 1, 'loss': 0.5, 'n': 3.0},
        {'step': 1, 'sample': 'a\n"b"'},
        {'step': 2, 'loss': 0.25},
      ],
    )

  def test_a_file_that_grows_is_on_a_disk(self):
    bucket = epath.Path(self.directory) / 'metrics.jsonl'
    with self.assertRaisesRegex(ValueError, 'path=.*disk of this machine'):
      io.JsonlWriter(bucket).write_scalars(1, {'loss': 0.5})

  def test_flush_makes_lines_visible(self):
    writer = io.JsonlWriter(self.directory / 'm.jsonl')
    writer.write_scalars(0, {'x': 1.0})
    writer.flush()
    self.assertIn('"x": 1.0', (self.directory / 'm.jsonl').read_text())
    writer.close()

  def test_step_is_not_a_metric(self):
    writer = io.JsonlWriter(self.directory / 'm.jsonl')
    with self.assertRaisesRegex(ValueError, 'step'):
      writer.write_scalars(0, {'step': 1.0})
    writer.close()

  def test_csv_is_long_so_that_metrics_may_come_and_go(self):
    path = self.directory / 'metrics.csv'
    for step, scalars in ((1, {'a': 1.0}), (2, {'a': 2.0, 'b': 0.5})):
      writer = io.CsvWriter(path)
      writer.write_scalars(step, scalars)
      writer.write_texts(step, {'note': 'x, y\nz'})
      writer.close()
    with path.open(newline='') as file:
      rows = list(csv.reader(file))
    self.assertEqual(
      rows,
      [
        ['step', 'name', 'value'],
        ['1', 'a', '1.0'],
        ['1', 'note', 'x, y\nz'],
        ['2', 'a', '2.0'],
        ['2', 'b', '0.5'],
        ['2', 'note', 'x, y\nz'],
      ],
    )

  def test_log_and_multi(self):
    path = self.directory / 'm.jsonl'
    writer = io.MultiWriter([io.LogWriter(), io.JsonlWriter(path)])
    with self.assertLogs('absl', 'INFO') as logs:
      writer.write_scalars(7, {'loss': 0.125})
      writer.write_texts(7, {'sample': 'hello'})
    writer.flush()
    writer.close()
    self.assertIn('[7] loss=0.125', logs.output[0])
    self.assertIn('[7] sample: hello', logs.output[1])
    self.assertLen(path.read_text().splitlines(), 2)

  def test_a_missing_package_names_the_extra(self):
    for package, make in (
      ('tensorboardX', lambda: io.TensorBoardWriter(self.directory)),
      ('wandb', lambda: io.WandbWriter('project')),
    ):
      if importlib.util.find_spec(package) is None:
        with self.assertRaisesRegex(ImportError, r'ttc-jax\[logging\]'):
          make()
