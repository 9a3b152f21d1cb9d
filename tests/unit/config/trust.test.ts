/** The files of trust policy `ca`: what is wrong with them, at the line that names them. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatFinding } from '../../../config/check.ts';
import { checkConfig, loadConfig } from '../../../config/load.ts';
import { suite, type T } from '../../support/harness.ts';
import { load, temporaryFolder } from '../../support/identities.ts';
import { makeOverlayCa, type OverlayCaFolder } from '../../support/overlay-ca.ts';

const test = suite('config of trust');

interface Stage {
  readonly folder: string;
  readonly ca: OverlayCaFolder;
  /** What `evio config check` finds when keys of the trust entry or the node's name are changed. */
  readonly found: (changes?: object, name?: string) => readonly string[];
  readonly file: string;
}

async function stage(t: T): Promise<Stage> {
  const folder = temporaryFolder(t);
  const ca = await makeOverlayCa(join(folder, 'ca'), Date.now(), 'farm');
  const state = join(folder, 'state');
  await ca.sign(await load(state), 'barn', { out: join(folder, 'node.pem') });
  const file = join(folder, 'config.json');
  const found: Stage['found'] = (changes = {}, name = 'barn') => {
    const entry = { Policy: 'ca', CaFile: 'ca/ca.pem', CertFile: 'node.pem', ...changes };
    const text = `{
"Broker": { "Overlays": ["farm"], "NodeName": "${name}", "StateDirectory": "${state}" },
"Signal": { "Overlays": { "farm": { "HostAddress": "h", "Username": "a@h", "PasswordEnv": "P" } } },
"Trust": { "Overlays": { "farm": {
${Object.entries(entry)
  .map(([key, value]) => `"${key}": ${JSON.stringify(value)}`)
  .join(',\n')}
} } } }`;
    writeFileSync(file, text, { mode: 0o600 });
    return checkConfig(file, { P: 'x' }).map((finding) => formatFinding('f', finding));
  };
  return { folder, ca, found, file };
}

test('what `evio ca` has made is taken, by relative paths', async (t) => {
  const { folder, ca, found, file } = await stage(t);
  assert.deepEqual(found({ CrlFile: 'ca/crl.pem' }), []);
  const [overlay] = loadConfig(file, { P: 'x' }).config.overlays;
  assert.equal(overlay?.trust.policy, 'ca');
  if (overlay.trust.policy !== 'ca') return;
  assert.equal(overlay.trust.ca, ca.certificatePem);
  assert.equal(overlay.trust.crlFile, join(folder, 'ca', 'crl.pem'));
}, 20_000);

test('each file that cannot work is named at its line', async (t) => {
  const { folder, found } = await stage(t);
  const one = (changes: object, pattern: RegExp, name?: string): void => {
    const lines = found(changes, name);
    assert.equal(lines.length, 1, lines.join('\n'));
    assert.match(lines[0] ?? '', pattern);
  };
  one({ CaFile: 'none.pem' }, /^f:6:11: error: Trust\.Overlays\.farm\.CaFile is .*cannot be read/);
  one({ CaFile: 'node.pem' }, /^f:6:11: error: .*not the certificate of a CA/);
  one({ CertFile: 'ca/ca.pem' }, /^f:7:13: error: .*not made by the CA of an overlay/);
  one({ CertFile: 'state/certificate.pem' }, /^f:7:13: .*not made by the CA of an overlay/);
  one({}, /^f:7:13: .*is for node "barn", this one is "mill" \(NodeName\)/, 'mill');
  one({ CrlFile: 'none' }, /^f:8:12: .*cannot be read/);
  one({ CrlFile: 'node.pem' }, /^f:8:12: .*no PEM "X509 CRL" in it/);

  const other = await makeOverlayCa(join(folder, 'other'), Date.now(), 'farm');
  const stranger = await load(join(folder, 'stranger'));
  await other.sign(stranger, 'barn', { out: join(folder, 'stranger.pem') });
  one({ CertFile: 'stranger.pem' }, /^f:7:13: .*it is of node [0-9a-f]{32}, the identity of this/);
  one({ CaFile: 'other/ca.pem' }, /^f:7:13: .*not signed by the CA of overlay farm/);
  const attic = await makeOverlayCa(join(folder, 'attic'), Date.now(), 'attic');
  await attic.sign(await load(join(folder, 'state')), 'barn', { out: join(folder, 'attic.pem') });
  one(
    { CaFile: 'attic/ca.pem', CertFile: 'attic.pem' },
    /^f:7:13: .*the certificate is for overlay attic/,
  );
}, 20_000);

test('before the first start there is no identity to compare with', async (t) => {
  const { folder, ca, found } = await stage(t);
  const stranger = await load(join(folder, 'stranger'));
  await ca.sign(stranger, 'mill', { out: join(folder, 'mill.pem') });
  assert.equal(found({ CertFile: 'mill.pem' }, 'mill').length, 1);
  mkdirSync(join(folder, 'empty'));
  const own = join(folder, 'state', 'certificate.pem');
  writeFileSync(own, 'unreadable');
  assert.deepEqual(found({ CertFile: 'mill.pem' }, 'mill'), []);
}, 20_000);
