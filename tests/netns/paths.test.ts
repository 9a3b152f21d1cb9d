/** Which way a session goes when ways close and open: relays over UDP, TCP and TLS, both IP versions. */
import assert from 'node:assert/strict';
import { startGaps } from '../support/gaps.ts';
import { suite } from '../support/harness.ts';
import type { Lab } from '../support/netns.ts';
import { assertWithin } from '../support/pace.ts';
import { waitFor } from '../support/scope.ts';
import { iperf, ping } from '../support/traffic.ts';
import { createScene, type Scene, startTwo, turnName } from '../support/two-nodes.ts';

const test = suite('paths');
const relay = { User: 'relay', Password: 'relay-password' } as const;

/** Drops UDP that a router would carry between sites; what goes to and from the servers stays. */
async function cutDirect(
  lab: Lab,
  router: string,
  families: readonly ('ip' | 'ip6')[],
): Promise<void> {
  for (const family of families) {
    const servers = family === 'ip' ? '10.99.0.1' : '2001:db8:ff::1';
    await lab.nft(
      router,
      `
table ${family} cut {
  chain forward {
    type filter hook forward priority -200;
    meta l4proto udp ${family} daddr != ${servers} ${family} saddr != ${servers} drop
  }
}
`,
    );
  }
}

const mend = (lab: Lab, router: string, family: 'ip' | 'ip6'): Promise<string> =>
  lab.exec(router, ['nft', 'delete', 'table', family, 'cut']);

const routerOf = (scene: Scene): string => scene.sites[0]?.router ?? '';

test('dual stack loses IPv4 under traffic and goes on over IPv6, and the other way round', async (t) => {
  const scene = await startTwo(t, { kinds: ['port', 'port'], underlay: 'dual' });
  const { lab, a, b } = scene;
  const host = scene.sites[0]?.host ?? '';
  await a.waitUp('b');
  const gaps = await startGaps(lab, a.ns, b.address);
  const flow = iperf(lab, {
    from: a.ns,
    to: b.ns,
    address: b.address,
    seconds: 10,
    bitrate: '20M',
  });
  for (const [lost, back] of [
    ['192.168.1.10/24', null],
    ['2001:db8:1::10/64', '192.168.1.10/24'],
  ] as const) {
    if (back !== null) {
      await lab.ip(host, `addr add ${back} dev eth0\nroute replace default via 192.168.1.1`);
      const replies = gaps.replies();
      await waitFor('the ping runs', () => gaps.replies() > replies + 30, { timeoutMs: 10_000 });
    }
    const sinceMs = Date.now();
    await lab.ip(host, `addr del ${lost} dev eth0`);
    const replies = gaps.replies();
    await waitFor('replies again', () => gaps.replies() > replies + 20, {
      timeoutMs: 15_000,
      context: () => `${a.log().slice(-5_000)}\n--- b\n${b.log().slice(-4_000)}`,
    });
    const gap = gaps.longestMs(sinceMs);
    process.stdout.write(`without ${lost}: gap ${gap.toFixed(0)} ms\n`);
    await assertWithin(`without ${lost}`, gap, 2_000);
  }
  assert.ok((await flow).mbps > 5);
  await gaps.stop();
}, 60_000);

test('a dead path is left within 5 s: to the other IP version, then to the relay', async (t) => {
  const scene = await startTwo(t, { kinds: ['port', 'port'], underlay: 'dual' });
  const { lab, a, b } = scene;
  const first = await a.waitUp('b');
  const gaps = await startGaps(lab, a.ns, b.address);
  const families = first.path?.remote?.startsWith('[')
    ? (['ip6', 'ip'] as const)
    : (['ip', 'ip6'] as const);
  for (const family of families) {
    const sinceMs = Date.now();
    await cutDirect(lab, routerOf(scene), [family]);
    await waitFor('the silence', () => gaps.longestMs(sinceMs) > 1_000, { timeoutMs: 5_000 });
    const replies = gaps.replies();
    await waitFor('replies again', () => gaps.replies() > replies + 10, { timeoutMs: 15_000 });
    const gap = gaps.longestMs(sinceMs);
    const now = await a.peer('b');
    process.stdout.write(
      `${family} cut: gap ${gap.toFixed(0)} ms, now ${now?.path?.kind} ${now?.path?.remote}\n`,
    );
    await assertWithin('a dead path', gap, 5_000);
  }
  assert.equal((await a.peer('b'))?.path?.kind, 'turn');
  await gaps.stop();
}, 60_000);

test('a relayed session finds the direct path once it opens, without losing a packet', async (t) => {
  const scene = await createScene(t, { kinds: ['port', 'port'] });
  const { lab } = scene;
  await cutDirect(lab, routerOf(scene), ['ip']);
  const [a, b] = [scene.start(0), scene.start(1)];
  await a.waitUp('b', 20_000, 'turn');
  const gaps = await startGaps(lab, a.ns, b.address);
  await waitFor('a search in vain', () => /no direct path/.test(a.log()), { timeoutMs: 30_000 });
  await mend(lab, routerOf(scene), 'ip');
  const openedMs = performance.now();
  await a.waitUp('b', 60_000, 'direct-reflexive');
  process.stdout.write(`direct after ${Math.round(performance.now() - openedMs)} ms\n`);
  await b.waitUp('a', 5_000, 'direct-reflexive');
  const replies = gaps.replies();
  await waitFor('the ping runs', () => gaps.replies() > replies + 20);
  const { sent, lost } = await gaps.stop();
  process.stdout.write(`${lost} of ${sent} lost\n`);
  assert.ok(lost <= 1, `${lost} of ${sent} lost`);
}, 110_000);

for (const transport of ['tcp', 'tls'] as const) {
  test(`a site without UDP connects over TURN on ${transport}, and datagrams keep their bounds under load`, async (t) => {
    const scene = await createScene(t, { kinds: ['blocked', 'symmetric'], turnTls: true });
    const { lab, coturn, ca } = scene;
    const Address = transport === 'tls' ? `${turnName}:${coturn.tlsPort}` : coturn.endpoint;
    const more = transport === 'tls' ? { CaFile: ca.certFile } : {};
    const servers = [
      { Address: '10.99.0.99:3478', ...relay },
      { Address, Transport: transport, ...relay, ...more },
    ];
    const startedMs = performance.now();
    const [a, b] = [scene.start(0, { turn: servers }), scene.start(1)];
    const { path } = await a.waitUp('b');
    assert.equal(path?.kind, 'turn');
    const setUp = /"durationMs":(\d+),"msg":"link up"/.exec(a.log())?.[1];
    process.stdout.write(
      `${transport}: link up after ${setUp} ms, ${Math.round(performance.now() - startedMs)} ms from start\n`,
    );
    await assertWithin('link up', Number(setUp), 5_000);
    const there = await iperf(lab, { from: a.ns, to: b.ns, address: b.address, seconds: 2 });
    const back = await iperf(lab, { from: b.ns, to: a.ns, address: a.address, seconds: 2 });
    process.stdout.write(`${there.mbps.toFixed(0)} and ${back.mbps.toFixed(0)} Mbit/s\n`);
    assert.ok(there.mbps > 20 && back.mbps > 20, `${there.mbps} and ${back.mbps} Mbit/s`);
    const { sent, received } = await ping(lab, a.ns, b.address, { count: 20, sizeBytes: 1300 });
    assert.equal(received, sent);
  }, 60_000);
}

test('a TURN server with a certificate of nobody is refused, and the peer says so', async (t) => {
  const scene = await createScene(t, { kinds: ['blocked', 'blocked'], turnTls: true });
  const Address = `${turnName}:${scene.coturn.tlsPort}`;
  const turn = [{ Address, Transport: 'tls' as const, ...relay }];
  const [a] = [scene.start(0, { turn }), scene.start(1, { turn })];
  const peer = await waitFor(
    'the reason',
    async () => {
      const found = await a.peer('b');
      return /certificate/.test(found?.lastError ?? '') ? found : undefined;
    },
    { timeoutMs: 40_000, stepMs: 200, context: () => a.log().slice(-4_000) },
  );
  process.stdout.write(`${peer.lastError}\n`);
  assert.match(a.log(), /relay cannot be used/);
}, 60_000);

test('dead STUN and TURN servers before good ones cost little', async (t) => {
  const scene = await createScene(t, { kinds: ['symmetric', 'symmetric'] });
  const dead = ['10.99.0.91', '10.99.0.92', '10.99.0.93'].map((ip) => `${ip}:3478`);
  const changes = {
    stun: [...dead, scene.coturn.endpoint],
    turn: [
      ...dead.map((Address) => ({ Address, ...relay })),
      { Address: scene.coturn.endpoint, ...relay },
    ],
  };
  const a = scene.start(0, changes);
  scene.start(1, changes);
  assert.equal((await a.waitUp('b')).path?.kind, 'turn');
  const setUp = /"durationMs":(\d+),"msg":"link up"/.exec(a.log())?.[1];
  process.stdout.write(`link up after ${setUp} ms\n`);
  await assertWithin('link up', Number(setUp), 5_000);
}, 60_000);

test('IPv6 only, stateful firewalls on both sides: direct, with an MTU of 1400', async (t) => {
  const { lab, a, b } = await startTwo(t, { kinds: ['port', 'port'], underlay: 'v6' });
  const { path } = await a.waitUp('b');
  assert.match(path?.kind ?? '', /^direct/);
  assert.match(path?.remote ?? '', /^\[2001:db8:/);
  await b.waitUp('a', 10_000, /^direct/);
  assert.equal((await ping(lab, a.ns, b.address, { sizeBytes: 1_400 - 28, df: true })).received, 5);
  const { overlays } = await a.status();
  assert.equal(overlays[0]?.device?.mtu, 1_400);
}, 60_000);

test('a relayed pair says on either side whose NAT stands in the way', async (t) => {
  const { a, b } = await startTwo(t, { kinds: ['symmetric', 'port'] });
  const expected = [
    [a, 'b', /NAT of this site maps per destination/],
    [b, 'a', /the peer's NAT maps per destination/],
  ] as const;
  for (const [node, other, note] of expected) {
    await node.waitUp(other, 20_000, 'turn');
    await waitFor('the note', async () => note.test((await node.peer(other))?.pathNote ?? ''), {
      timeoutMs: 5_000,
      context: () => node.log().slice(-2_000),
    }).catch(async (error: unknown) => {
      throw new Error(`${node.name}: ${(await node.peer(other))?.pathNote}`, { cause: error });
    });
    assert.match(await node.evio('peers', other), note);
  }
}, 60_000);
