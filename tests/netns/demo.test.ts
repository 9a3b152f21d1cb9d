/** The demo of the README, run as it is, but for its length. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { exec } from '../../base/exec.ts';
import { suite } from '../support/harness.ts';

const test = suite('demo');

test('it connects two sites, shows its figures and leaves nothing behind', async (t) => {
  const main = join(import.meta.dirname, '..', 'demo', 'main.js');
  const child = spawn(process.execPath, [main, '--seconds', '1'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.defer(() => void child.kill('SIGKILL'));
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const code = await new Promise((resolve) => child.on('close', resolve));
  assert.equal(code, 0, output);
  assert.match(output, /path a–b +direct-reflexive/);
  assert.match(output, /time to connect +\d/);
  assert.match(output, /TCP a → b +\d+ Mbit\/s/);
  assert.match(output, /1 of 1 online: 1 direct/);
  assert.doesNotMatch(await exec(['ip', 'netns', 'list']), /evio-demo/);
}, 60_000);
