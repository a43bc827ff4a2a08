"""Files that a kill, a full disk or a second process cannot spoil."""

import errno
import math
import multiprocessing
import os
import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest

from ttc.io import files


def _hold(directory, held, release):
  with files.lock_directory(directory):
    held.set()
    release.wait(30)


class FilesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    directory = self.enter_context(tempfile.TemporaryDirectory())
    self.directory = pathlib.Path(directory)
    self.path = self.directory / 'new' / 'file.txt'

  def test_a_file_is_the_old_or_the_new_one(self):
    files.write_atomically(self.path, 'old')
    for name in ('fsync', 'replace'):
      where = 'os.fsync' if name == 'fsync' else 'pathlib.Path.replace'
      full = OSError(errno.ENOSPC, 'No space left on device')
      with mock.patch(where, side_effect=full):
        with self.assertRaisesRegex(OSError, r'No space left.*file\.txt'):
          files.write_atomically(self.path, 'new')
      self.assertEqual(self.path.read_text(), 'old')
      self.assertLen(list(self.path.parent.iterdir()), 1)
    files.write_atomically(self.path, b'new')
    self.assertEqual(self.path.read_text(), 'new')

  def test_a_torn_line_is_dropped_at_any_cut(self):
    files.append_lines(self.path, ['first', 'zweite √'])
    whole = self.path.read_bytes()
    for cut in range(len(whole) + 1):
      self.path.write_bytes(whole[:cut])
      kept = files.read_lines(self.path)
      files.append_lines(self.path, ['last'])
      self.assertEqual(files.read_lines(self.path), [*kept, 'last'])
      self.assertLen(kept, whole[:cut].count(b'\n'))

  def test_a_long_torn_line_is_dropped(self):
    files.append_lines(self.path, ['a'])
    with self.path.open('ab') as file:
      file.write(b'x' * 10_000)
    files.append_lines(self.path, ['b'])
    self.assertEqual(files.read_lines(self.path), ['a', 'b'])

  def test_a_directory_has_one_writer_until_it_ends(self):
    context = multiprocessing.get_context('fork')
    held, release = context.Event(), context.Event()
    other = context.Process(
      target=_hold, args=(self.directory, held, release), daemon=True
    )
    other.start()
    self.assertTrue(held.wait(30))
    message = f'in use by process {other.pid}'
    with self.assertRaisesRegex(ValueError, message):
      with files.lock_directory(self.directory):
        pass
    os.kill(other.pid, 9)
    other.join()
    with files.lock_directory(self.directory):
      pass

  def test_json_is_strict(self):
    value = {'b': [1.5, math.nan, math.inf], 'a': {'x': -math.inf}}
    text = files.to_json(value)
    self.assertEqual(
      text, '{"a": {"x": "-Infinity"}, "b": [1.5, "NaN", "Infinity"]}'
    )

  def test_a_digest_tells_names_and_contents(self):
    for name, text in (('a', '1'), ('b', '2')):
      files.write_atomically(self.directory / 'd' / name, text)
    first = files.digest(self.directory / 'd')
    (self.directory / 'd' / 'b').rename(self.directory / 'd' / 'c')
    self.assertNotEqual(files.digest(self.directory / 'd'), first)


if __name__ == '__main__':
  absltest.main()
