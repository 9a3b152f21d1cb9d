/**
 * Two tunnel processes that can reach a STUN and TURN server (coturn from Debian) but not each other:
 *
 *   [site a] ── 198.18.1.0/24 ── [pub: coturn, no forwarding] ── 198.18.2.0/24 ── [site b]
 */
import { strict as assert } from 'node:assert';
import { existsSync } from 'node:fs';
import { exec } from '../../base/exec.ts';
import type { IceServers } from '../../tincan-bridge/protocol/schema.ts';
import {
  type BridgeProcess,
  newNs,
  newSite,
  startOnline,
  startTurn,
  wire,
} from '../support/bridge-process.ts';
import { suite, type T } from '../support/harness.ts';
import { assertWithin } from '../support/pace.ts';

const test = suite('bridge-relay');
const missing = existsSync('/usr/bin/turnserver') ? null : 'coturn is not installed';
const why = process.getuid?.() === 0 ? missing : 'needs root for namespaces';

async function lab(
  t: T,
  servers: (gateway: string) => IceServers,
): Promise<readonly [BridgeProcess, BridgeProcess]> {
  const pub = await newNs(t, 'p');
  const a = await newSite(t, 'a', '10.77.0.1/24');
  const b = await newSite(t, 'b', '10.77.0.2/24');
  await wire([pub, '198.18.1.1/24'], [a, '198.18.1.2/24'], 'evsa');
  await wire([pub, '198.18.2.1/24'], [b, '198.18.2.2/24'], 'evsb');
  await exec(['ip', '-n', a, 'route', 'add', 'default', 'via', '198.18.1.1']);
  await exec(['ip', '-n', b, 'route', 'add', 'default', 'via', '198.18.2.1']);
  await startTurn(t, pub, ['198.18.1.1', '198.18.2.1']);
  const [one, two] = await startOnline(t, [a, b], [servers('198.18.1.1'), servers('198.18.2.1')]);
  const flags = '-c 5 -i 0.1 -W 2 -s 1372'.split(' ');
  const out = await exec(['ip', 'netns', 'exec', a, 'ping', ...flags, '10.77.0.2']);
  assert.match(out, / 0% packet loss/);
  const kinds = [one.ups[0]?.path.kind, two.ups[0]?.path.kind];
  assert.deepEqual(kinds, ['turn', 'turn']);
  const took = `${one.ups[0]?.setUpMs}/${two.ups[0]?.setUpMs} ms`;
  process.stdout.write(`${took}, ${out.trim().split('\n').at(-1)}\n`);
  return [one, two];
}

const turn =
  (transport: 'udp' | 'tcp') =>
  (host: string): IceServers => ({
    stun: [{ host, port: 3_478 }],
    turn: [{ host, port: 3_478, transport, user: 'u', password: 'p' }],
  });

test.unless(
  why,
  'with nothing but a relay, frames cross the relay over UDP',
  async (t) => {
    await lab(t, turn('udp'));
  },
  40_000,
);

test.unless(
  why,
  'the same when only TCP leads to the relay',
  async (t) => {
    await lab(t, turn('tcp'));
  },
  40_000,
);

test.unless(
  why,
  'a silent STUN server beside a good one delays nothing',
  async (t) => {
    const [one] = await lab(t, (host) => {
      const { stun, turn: relays } = turn('udp')(host);
      return { stun: [{ host: '198.18.1.77', port: 3_478 }, ...stun], turn: relays };
    });
    await assertWithin('the set-up', one.ups[0]?.setUpMs ?? 99_999, 2_500);
  },
  40_000,
);
