/** `evio ca` as an operator types it, from the node's request to the revocation. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EvioError } from '../../../../base/errors.ts';
import { exec } from '../../../../base/exec.ts';
import { suite } from '../../../support/harness.ts';
import { temporaryFolder } from '../../../support/identities.ts';
import { evioLauncher } from '../../../support/repository.ts';

const test = suite('evio ca');
const evio = (...args: readonly string[]): Promise<string> => exec([evioLauncher, ...args]);
const fails = (args: readonly string[], why: RegExp): Promise<void> =>
  assert.rejects(evio(...args), (error) => {
    assert.ok(error instanceof EvioError);
    assert.match(error.message, why);
    return true;
  });

test('a node asks, the CA confirms its id, signs, lists and revokes', async (t) => {
  const folder = temporaryFolder(t);
  const at = (name: string): string => join(folder, name);
  const dir = ['--dir', at('ca')];
  writeFileSync(at('pass'), 'correct horse\n', { mode: 0o600 });
  const withKey = [...dir, '--passphrase-file', at('pass')];
  await evio('ca', 'init', ...withKey, '--overlay', 'farm');
  const request = await evio('ca', 'request', '--state-directory', at('state'));
  writeFileSync(at('barn.pem'), request);
  const sign = ['ca', 'sign', at('barn.pem'), ...withKey, '--name', 'barn'];
  await fails(sign, /is of node [0-9a-f]{32}: compare that .*\[ca\.refused\]/);
  const asked = await evio('ca', 'request', '--state-directory', at('state'), '--json');
  const { node } = JSON.parse(asked);
  await fails([...sign, '--node-id', 'f'.repeat(32)], /--node-id says f/);
  await fails([...sign, '--node-id', node, '--days', '0'], /--days "0" must be 1 to 36500/);
  const out = at('barn-signed.pem');
  const signed = JSON.parse(await evio(...sign, '--node-id', node, '--out', out, '--json'));
  assert.deepEqual([signed.node, signed.overlay, signed.file], [node, 'farm', out]);
  assert.match(readFileSync(out, 'utf8'), /BEGIN CERTIFICATE/);
  assert.match(await evio('ca', 'list', ...dir), new RegExp(`barn +${node} +valid`));
  await fails(['ca', 'revoke', node, ...dir], /is encrypted: give its passphrase/);
  assert.match(await evio('ca', 'revoke', signed.serial, ...withKey), /revoked .* \("barn"\)/);
  const listing = JSON.parse(await evio('ca', 'list', ...dir, '--json'));
  assert.equal(listing.certificates[0].state, 'revoked');
  await evio('ca', 'crl', ...withKey);
  assert.equal(JSON.parse(await evio('ca', 'list', ...dir, '--json')).crlNumber, 3);
  await fails(['ca', 'init', ...withKey, '--overlay', 'farm'], /holds a CA already/);
}, 40_000);
