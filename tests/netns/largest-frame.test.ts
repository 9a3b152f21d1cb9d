/** The largest frame passes each kind of path, and one byte more is answered: never silence. */
import assert from 'node:assert/strict';
import { suite } from '../support/harness.ts';
import type { NatKind } from '../support/nat-lab.ts';
import type { EvioNode } from '../support/node.ts';
import { waitFor } from '../support/scope.ts';
import { createScene, type Scene, turnName } from '../support/two-nodes.ts';

const test = suite('largest frame');

interface Way {
  readonly kind: 'direct-reflexive' | 'turn';
  readonly sites: readonly [NatKind, NatKind];
  readonly transport: 'udp' | 'tcp' | 'tls';
  /** 1500 less headers; ChannelData costs 4. */
  readonly mtu: number;
}
const ways: Readonly<Record<string, Way>> = {
  'a direct path': {
    kind: 'direct-reflexive',
    sites: ['port', 'port'],
    transport: 'udp',
    mtu: 1_420,
  },
  'TURN over UDP': {
    kind: 'turn',
    sites: ['symmetric', 'symmetric'],
    transport: 'udp',
    mtu: 1_416,
  },
  'TURN over TCP': { kind: 'turn', sites: ['blocked', 'symmetric'], transport: 'tcp', mtu: 1_416 },
  'TURN over TLS': { kind: 'turn', sites: ['blocked', 'symmetric'], transport: 'tls', mtu: 1_416 },
};
/** IP and ICMP headers. */
const headers = { 4: 28, 6: 48 } as const;
const targets = { 4: '10.77.0.2', 6: 'fd77::2' } as const;

/** The report of pings of whole packets of that size, which may not be cut, also when they fail. */
const report = ({ lab }: Scene, from: EvioNode, family: 4 | 6, bytes: number): Promise<string> => {
  const flags = ['-n', '-c', '3', '-i', '0.3', '-W', '2', '-M', 'do'];
  const size = ['-s', `${bytes - headers[family]}`];
  return lab.exec(from.ns, ['ping', ...flags, ...size, targets[family]]).catch(String);
};

async function bothEnds(scene: Scene, { transport }: Way): Promise<readonly [EvioNode, EvioNode]> {
  const { coturn, ca } = scene;
  const server = {
    Address: transport === 'tls' ? `${turnName}:${coturn.tlsPort}` : coturn.endpoint,
    User: 'relay',
    Password: 'relay-password',
    Transport: transport,
    ...(transport === 'tls' ? { CaFile: ca.certFile } : {}),
  };
  const a = scene.start(0, { turn: [server], address6: 'fd77::1' });
  const b = scene.start(1, { address6: 'fd77::2' });
  await a.waitUp('b');
  await b.waitUp('a');
  return [a, b];
}

for (const [name, way] of Object.entries(ways)) {
  test(`over ${name} ${way.mtu} bytes pass and ${way.mtu + 1} are too big`, async (t) => {
    const scene = await createScene(t, { kinds: way.sites, turnTls: true, ipv6: true });
    const [a] = await bothEnds(scene, way);
    assert.equal((await a.peer('b'))?.path?.kind, way.kind);
    const mtuOf = async () => (await a.status()).overlays[0]?.device?.mtu;
    await waitFor('the MTU', async () => (await mtuOf()) === way.mtu);
    for (const family of [4, 6] as const) {
      assert.match(await report(scene, a, family, way.mtu), / 0% packet loss/);
      // The host's own stack says it, of the device's MTU.
      assert.match(await report(scene, a, family, way.mtu + 1), /message too long/i);
    }
    // A device that is wider than the path: the switch answers in the place of a router.
    await scene.lab.ip(a.ns, 'link set ev-lab mtu 1500');
    for (const family of [4, 6] as const) {
      assert.match(await report(scene, a, family, way.mtu), / 0% packet loss/);
      // The first ping gets the answer; the host refuses the others by what it has learnt.
      const answer = await report(scene, a, family, way.mtu + 1);
      assert.equal(Number(/mtu ?[=:] ?(\d+)/i.exec(answer)?.[1]), way.mtu, answer);
    }
  }, 60_000);
}
