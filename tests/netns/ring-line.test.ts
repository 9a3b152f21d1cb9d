/**
 * Three real nodes in a line, by manual topology: what A and C say to each other goes over B. One scene
 * for all that a layer-2 segment must carry there, and for what happens on its host sides.
 *
 *   guest ─ evbr-lab (n1) ── overlay ── evbr-lab (n2) ── overlay ── evbr-lab (n3) ═ evap-lab ─ guest
 *                 └ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ a cable that makes a loop ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ┘
 *
 * n3 has an AppBridge: what hangs there is two bridges away from the TAP.
 */
import assert from 'node:assert/strict';
import { suite } from '../support/harness.ts';
import {
  clientOf,
  counterOf,
  linksOf,
  type Many,
  overlayOf,
  pingPeer,
  startMany,
  waitAllPairs,
  waitOnline,
} from '../support/many-nodes.ts';
import type { Lab } from '../support/netns.ts';
import type { EvioNode } from '../support/node.ts';
import { assertWithin } from '../support/pace.ts';
import { print } from '../support/print.ts';
import { waitFor } from '../support/scope.ts';
import { startPing } from '../support/steady-ping.ts';
import {
  iperf,
  ping,
  receiveUdp,
  requestLease,
  sendUdp,
  startDhcpServer,
} from '../support/traffic.ts';

const test = suite('ring line');
/** The bridge that takes guests and holds the host's address. */
const deviceOf = ({ name }: EvioNode): string => (name === 'n3' ? 'evap-lab' : 'evbr-lab');
/** Addresses from NetDevice go to the second bridge. */
const appBridge = {
  BridgeController: {
    Overlays: {
      lab: {
        NetDevice: { IP4: undefined, PrefixLen: undefined, IP6: undefined, PrefixLen6: undefined },
        AppBridge: { IP4: '10.77.1.3', PrefixLen: 16, IP6: 'fd77::3', PrefixLen6: 64 },
      },
    },
  },
};
const patienceMs = 60_000;

interface Line extends Many {
  readonly a: EvioNode;
  readonly b: EvioNode;
  readonly c: EvioNode;
}

test('in a line of nodes the ends share a segment, tools say how, and it survives its users', async (t) => {
  const many = await startMany(t, {
    nodes: 3,
    edges: [
      [0, 1],
      [1, 2],
    ],
    ipv6: true,
    node: () => ({ provider: 'LXBR' }),
    config: (index) => (index === 2 ? appBridge : {}),
  });
  const [a, b, c] = many.nodes;
  assert.ok(a && b && c);
  const line: Line = { ...many, a, b, c };
  await waitOnline(many.nodes, patienceMs);
  await step('announced addresses', () => announcedAddresses(line));
  const pairsMs = await waitAllPairs(many.lab, many.nodes, patienceMs);
  print(`all pairs after ${(pairsMs / 1_000).toFixed(1)} s`);
  await step('links and ways', () => linksAndWays(line));
  await step('traffic', () => traffic(line));
  await step('known addresses', () => knownAddresses(line));
  await step('DHCP', () => dhcp(line));
  await step('multicast', () => multicast(line));
  await step('a station that moves', () => moves(line));
  await step('a loop', () => loop(line));
}, 400_000);

async function step(what: string, body: () => Promise<void>): Promise<void> {
  const startedMs = performance.now();
  await body();
  print(`${what}: ${((performance.now() - startedMs) / 1_000).toFixed(1)} s`);
}

/** Exactly the listed edges, and tools that tell what the frames really do. */
async function linksAndWays({ a, b, c }: Line): Promise<void> {
  const expected = [
    [a, ['n2']],
    [b, ['n1', 'n3']],
    [c, ['n2']],
  ] as const;
  for (const [node, names] of expected) {
    const links = await linksOf(node);
    assert.deepEqual(links.map(({ name }) => name).sort(), names);
    for (const { state, reason, incoming, path } of links) {
      assert.equal(state, 'up');
      assert.ok(reason === 'static' || incoming === 'static', `${reason} ${incoming}`);
      assert.match(path.kind, /^direct/);
    }
  }
  const { overlays } = await clientOf(a).routes();
  const routes = overlays[0]?.routes ?? [];
  assert.deepEqual(routes.map(({ name, viaName }) => `${name} by ${viaName}`).sort(), [
    'n2 by n2',
    'n3 by n2',
  ]);
  const how = new Map(routes.map((route) => [route.name, route.how]));
  assert.equal(how.get('n2'), 'link');
  // Whether the first frame was faster than the list of B's neighbours.
  assert.ok(['look-ahead', 'searched'].includes(how.get('n3') ?? ''), how.get('n3'));
  const { hops, path, rttMs } = await pingPeer(a, 'n3');
  assert.deepEqual(
    hops.map(({ name }) => name),
    ['n2', 'n3'],
  );
  assert.equal(path.kind, 'ring');
  assert.ok(rttMs !== null && rttMs > 0);
  const [ofRoutes, ofPing, ofTrace, ofLinks] = await Promise.all([
    a.evio('routes'),
    a.evio('ping', 'n3', '--count', '2'),
    a.evio('trace', 'n3'),
    a.evio('links'),
  ]);
  assert.match(ofRoutes, /n3\s+.*n2/);
  assert.match(ofPing, /n3/);
  assert.match(ofTrace, /n2[\s\S]*n3/);
  assert.match(ofLinks, /n2.*static/);
  assert.doesNotMatch(ofLinks, /n3/);
}

/** A node that came anew asks another's host alone, though none of its stations has ever spoken. */
async function announcedAddresses({ lab, a, b, c }: Line): Promise<void> {
  const greeted = async (): Promise<boolean> => (await ping(lab, a.ns, b.address)).received > 0;
  await waitFor('the first question, which is for all, is answered', greeted, {
    timeoutMs: 20_000,
  });
  const before = await counterOf(a, 'unflooded');
  const heard = lab.exec(b.ns, ['sh', '-c', questionsFor(c.address, deviceOf(b))]);
  await ping(lab, a.ns, c.address, { count: 3 });
  assert.ok((await counterOf(a, 'unflooded')) > before, 'everybody was asked');
  assert.equal((await heard).trim(), '', 'the node between was asked too');
}

/** Who is asked for an address that is known: its station alone; and all, if that does not answer. */
async function knownAddresses({ lab, a, b, c }: Line): Promise<void> {
  const askAnew = async (address: string): Promise<void> => {
    await lab.ip(a.ns, `neigh flush to ${address}`);
    assert.equal((await ping(lab, a.ns, address, { count: 3 })).received, 3);
  };
  // A question that was just asked counts as not answered.
  await new Promise((resolve) => setTimeout(resolve, 10_500));
  for (const address of [c.address, 'fd77::3']) {
    const before = await counterOf(a, 'unflooded');
    const heard = lab.exec(b.ns, ['sh', '-c', questionsFor(address, deviceOf(b))]);
    await askAnew(address);
    assert.ok((await counterOf(a, 'unflooded')) > before, `${address} was asked of all`);
    assert.equal((await heard).trim(), '', `${address} was asked of the node between too`);
  }
  const flooded = await counterOf(a, 'flooded');
  await askAnew(c.address);
  assert.ok((await counterOf(a, 'flooded')) > flooded, 'asked again so soon, it is asked of all');
}

const questionsFor = (address: string, device: string): string => {
  const what = address.includes(':') ? 'icmp6 and ip6[40] == 135' : 'arp';
  return `timeout 4 tcpdump -nn -l -Q out -i ${device} '${what}' 2>/dev/null | grep 'who has ${address}' || true`;
};

async function traffic({ lab, a, c }: Line): Promise<void> {
  assert.equal((await ping(lab, a.ns, c.address, { count: 20 })).received, 20);
  assert.equal((await ping(lab, a.ns, 'fd77::3', { count: 10 })).received, 10);
  const ofLink = ['dev', deviceOf(c), 'scope', 'link'];
  const shown = await lab.exec(c.ns, ['ip', '-6', '-o', 'addr', 'show', ...ofLink]);
  const linkLocal = /inet6 (fe80::[0-9a-f:]+)/.exec(shown)?.[1] ?? assert.fail(shown);
  const near = await ping(lab, a.ns, `${linkLocal}%${deviceOf(a)}`, { count: 10 });
  assert.equal(near.received, 10);
  const { overlays } = await a.status();
  const mtu = overlays[0]?.device?.mtu ?? 0;
  const largest = await ping(lab, a.ns, c.address, { sizeBytes: mtu - 28, df: true });
  assert.equal(largest.received, largest.sent, `MTU ${mtu}`);
  const ends = { from: a.ns, to: c.ns, address: c.address };
  const there = await iperf(lab, { ...ends, seconds: 2 });
  const back = await iperf(lab, { ...ends, seconds: 2, reverse: true });
  const udp = await iperf(lab, { ...ends, seconds: 1, udpBytes: 1_100, bitrate: '5M' });
  print(
    `over one node: TCP ${there.mbps.toFixed(0)} and ${back.mbps.toFixed(0)} Mbit/s, ` +
      `UDP ${udp.lossPercent.toFixed(1)} % lost, MTU ${mtu}, ping6 ${near.medianMs} ms`,
  );
  assert.ok(there.mbps > 20 && back.mbps > 20);
  assert.ok(udp.lossPercent < 10);
}

async function dhcp({ lab, a, c }: Line): Promise<void> {
  const range = { first: '10.77.3.100', last: '10.77.3.110', mask: '255.255.0.0' };
  const server = await startDhcpServer(lab, a.ns, deviceOf(a), range);
  await lab.namespace('client');
  await lab.cable({ ns: c.ns, dev: 'client0', bridge: deviceOf(c) }, { ns: 'client', dev: 'eth0' });
  const lease = await requestLease(lab, 'client', 'eth0');
  assert.equal(lease.server, a.address);
  assert.match(lease.address, /^10\.77\.3\.1/);
  assert.equal((await ping(lab, 'client', a.address, { count: 3 })).received, 3);
  await server.stop();
}

/** One stream from A; C joined, B did not. */
async function multicast({ lab, a, b, c }: Line): Promise<void> {
  const group = '239.7.7.7';
  const joined = await receiveUdp(lab, c.ns, 7_007, { address: group, dev: deviceOf(c) });
  const stranger = await receiveUdp(lab, b.ns, 7_007);
  const send = (text: string): Promise<void> =>
    sendUdp(lab, a.ns, { address: group, port: 7_007, dev: deviceOf(a) }, `${text}\n`);
  for (let n = 0; n < 20; n += 1) await send(`part-${n}`);
  await waitFor('the stream', () => joined.log().includes('part-19'));
  assert.equal(joined.log().match(/part-\d+/g)?.length, 20, 'each once');
  assert.equal(stranger.log(), '');
}

const guestAddress = '10.77.2.1';

/** A machine with one MAC on the bridge of a node. */
async function plugGuest(lab: Lab, at: EvioNode): Promise<void> {
  await lab.cable({ ns: at.ns, dev: 'guest0', bridge: deviceOf(at) }, { ns: 'guest', dev: 'eth0' });
  await lab.ip(
    'guest',
    `link set eth0 down
link set eth0 address 02:00:5e:00:00:77
addr add ${guestAddress}/16 dev eth0
link set eth0 up`,
  );
}

const unplugGuest = (lab: Lab, at: EvioNode): Promise<void> => lab.ip(at.ns, 'link del guest0');

/** With the second one it speaks first, with the third it is asked first. */
async function moves({ lab, a, b, c }: Line): Promise<void> {
  await lab.namespace('guest');
  await lab.sysctl('guest', { 'net.ipv6.conf.all.disable_ipv6': 1 });
  await plugGuest(lab, a);
  for (const target of [a, b, c]) {
    assert.equal((await ping(lab, 'guest', target.address, { count: 3 })).received, 3);
  }
  const steady = startPing(lab, b.ns, guestAddress, { intervalS: 0.05 });
  await waitFor('the ping runs', () => steady.replies().length > 5);
  await unplugGuest(lab, a);
  await plugGuest(lab, c);
  for (const target of [a, b, c]) {
    const moved = await ping(lab, 'guest', target.address, { count: 1, waitS: 0.9 });
    assert.equal(moved.received, 1, `one ARP request to ${target.name}`);
  }
  const replies = steady.replies().length;
  await waitFor('the steady ping goes on', () => steady.replies().length > replies + 5);
  const { longestGapMs } = await steady.stop();
  print(`moved from n1 to n3 and spoke: longest silence ${longestGapMs.toFixed(0)} ms`);

  // Back, and it says nothing by itself: whoever asks by ARP finds it.
  await unplugGuest(lab, c);
  await plugGuest(lab, a);
  for (const asks of [c, b]) {
    await lab.ip(asks.ns, `neigh flush to ${guestAddress}`);
    const startedMs = performance.now();
    const found = await ping(lab, asks.ns, guestAddress, { count: 3, intervalS: 1, waitS: 2 });
    assert.ok(found.received >= 2, `${asks.name}: ${found.received} of 3`);
    print(
      `asked by ${asks.name}: ${found.received} of 3 in ${(performance.now() - startedMs).toFixed(0)} ms`,
    );
  }
}

/** A cable between the bridges of A and C: frames for everybody would go round for ever. */
async function loop({ lab, a, b, c }: Line): Promise<void> {
  const { nodeId: idA } = await overlayOf(a);
  const { nodeId: idC } = await overlayOf(c);
  const closes = idA < idC ? c : a;
  const end = (node: EvioNode) => ({ ns: node.ns, dev: 'loop0', bridge: deviceOf(node) });
  const startedMs = performance.now();
  const written = await counterOf(b, 'tapWrittenFrames');
  await lab.cable(end(a), end(c));
  await waitFor('a TAP closes', async () => (await counterOf(closes, 'tapClosed')) === 1, {
    timeoutMs: 10_000,
  });
  print(`loop found after ${(performance.now() - startedMs).toFixed(0)} ms`);
  await waitAllPairs(lab, [a, b, c], 30_000);
  print(`all pairs ${(performance.now() - startedMs).toFixed(0)} ms after the cable`);
  const stormed = (await counterOf(b, 'tapWrittenFrames')) - written;
  // The budgets of two nodes at most, while it was not found yet.
  assert.ok(stormed < 10_000, `${stormed} frames`);
  const quiet = await counterOf(b, 'tapWrittenFrames');
  const pinged = await ping(lab, b.ns, c.address, { count: 50, intervalS: 0.1 });
  const during = (await counterOf(b, 'tapWrittenFrames')) - quiet;
  print(
    `${stormed} frames at B until then, ${during} in the 5 s after; ${pinged.received} of 50 pings`,
  );
  assert.ok(during < 1_000, `${during} frames in 5 s`);
  assert.ok(pinged.received >= 48, `${pinged.received}`);
  assert.match(closes.log(), /joined with another one outside the overlay/);

  await lab.ip(a.ns, 'link del loop0');
  const pulledMs = performance.now();
  await waitFor('it opens', async () => (await counterOf(closes, 'tapClosed')) === 0, {
    timeoutMs: 10_000,
  });
  await waitAllPairs(lab, [a, b, c], 30_000);
  const healedMs = performance.now() - pulledMs;
  print(`all pairs ${healedMs.toFixed(0)} ms after it was pulled`);
  await assertWithin('the loop is healed', healedMs, 15_000);
}
