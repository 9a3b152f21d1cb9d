/** Our records are DTLS 1.2: with the key log, tshark opens them; without, it does not. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { suite } from '../support/harness.ts';
import { waitFor } from '../support/scope.ts';
import { capture, receiveUdp, sendUdp } from '../support/traffic.ts';
import { createScene } from '../support/two-nodes.ts';

const test = suite('key log');

test('tshark opens our records with the key log, and only with it', async (t) => {
  const scene = await createScene(t, { kinds: ['port', 'port'] });
  const { lab, sites } = scene;
  const keys = join(lab.folder, 'keys.log');
  const wire = await capture(lab, sites[0]?.router ?? '', 'wan', 'udp');
  const a = scene.start(0, { env: { EVIO_KEY_LOG_FILE: keys } });
  const b = scene.start(1);
  await a.waitUp('b');
  const listener = await receiveUdp(lab, b.ns, 7009);
  const text = 'opened-by-an-outsider-0123456789';
  await waitFor('the datagram', async () => {
    await sendUdp(lab, a.ns, { address: b.address, port: 7009 }, text);
    return listener.log().includes(text);
  });
  const inner = Buffer.from(text).toString('hex');
  const opened = async (...options: readonly string[]): Promise<boolean> => {
    const argv = ['tshark', '-n', '-r', wire.file, ...options, '-Y', 'dtls', '-x'];
    const dump = await lab.exec('', argv, { timeoutMs: 30_000 });
    return hexOf(dump).includes(inner);
  };
  assert.equal(await opened(), false);
  assert.equal(await opened('-o', `tls.keylog_file:${keys}`), true);
}, 60_000);

/** The bytes of a hex dump (`0010  45 00 …  E.`) as one string of hex digits. */
const hexOf = (dump: string): string =>
  dump
    .split('\n')
    .map((line) => /^[0-9a-f]{4} {2}((?:[0-9a-f]{2} ?)+)/.exec(line)?.[1] ?? ' ')
    .map((bytes) => bytes.replaceAll(' ', '') || '\n')
    .join('');
