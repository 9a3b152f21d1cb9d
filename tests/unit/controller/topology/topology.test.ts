/** The topology module on a bus: what it hears of others becomes wishes and messages. */
import assert from 'node:assert/strict';
import { NodeId, OverlayId } from '../../../../base/ids.ts';
import { silentLogger } from '../../../../base/log.ts';
import { Bus } from '../../../../controller/bus.ts';
import type { BusEvent, EventName, Events, PathKind } from '../../../../controller/events.ts';
import type { LinkMessage } from '../../../../controller/peer-messages.ts';
import {
  createTopology,
  defaultTopology,
  type Topology,
  type TopologyConfig,
} from '../../../../controller/topology/index.ts';
import { suite, type T } from '../../../support/harness.ts';
import { VirtualTime } from '../../../support/virtual-time.ts';

const test = suite('topology module');
const id = (n: number): NodeId => NodeId.parse(n.toString(16).padStart(32, '0'));
const overlay = OverlayId.parse('farm');
const peer = id(2);

interface Bench {
  readonly topology: Topology;
  readonly time: VirtualTime;
  see(...peers: readonly NodeId[]): void;
  hear(from: NodeId, message: LinkMessage, where?: OverlayId): void;
  path(peer: NodeId, kind: PathKind): void;
  lose(peer: NodeId, reason: 'left' | 'removed' | 'signal-lost'): void;
  measure(rates: Events['links.trafficMeasured']['rates']): void;
  /** What was published since the last call. */
  said<N extends EventName>(name: N): readonly Events[N][];
}

function bench(t: T, config: Partial<TopologyConfig> = {}): Bench {
  const time = new VirtualTime();
  const bus = new Bus(silentLogger);
  const topology = createTopology({
    port: bus.port('topology'),
    clock: time.clock(),
    random: () => 0.5,
    log: silentLogger,
    self: id(1),
    overlays: [{ overlay, config: { ...defaultTopology, ...config } }],
  });
  let events: BusEvent[] = [];
  bus.tap(t.signal, (event) => events.push(event));
  topology.start();
  t.defer(() => topology.stop());
  const signal = bus.port('signal');
  const links = bus.port('links');
  return {
    topology,
    time,
    see(...peers) {
      for (const each of peers) {
        const name = `n${each.slice(-2)}`;
        const account = `${name}@farm.example`;
        const facts = { leaf: false, addresses: [] };
        signal.publish('signal.peerSeen', { overlay, peer: each, name, account, ...facts });
      }
      time.runUntil(time.nowMs + 1_000);
    },
    hear: (from, message, where = overlay) =>
      signal.publish('signal.messageReceived', { overlay: where, from, message }),
    path: (each, kind) =>
      links.publish('links.pathChanged', {
        overlay,
        peer: each,
        path: { kind, local: '', remote: '' },
      }),
    lose: (each, reason) => signal.publish('signal.peerLost', { overlay, peer: each, reason }),
    measure: (rates) => links.publish('links.trafficMeasured', { overlay, rates }),
    said(name) {
      const found = events.filter((e) => e.name === name).map((e) => e.event as never);
      events = events.filter((e) => e.name !== name);
      return found;
    },
  };
}

/** Grants all that was asked for, and brings the links up. */
function agree(b: Bench): readonly NodeId[] {
  const asked = b.said('topology.messageReady').flatMap(({ to, message }) => {
    if (message.kind !== 'link-request') return [];
    b.hear(to, { kind: 'link-answer', claim: message.claim, refusal: null });
    return [to];
  });
  for (const each of asked) b.path(each, 'direct-host');
  return asked;
}

test('who is seen is asked for a link, wanted when it agrees', (t) => {
  const b = bench(t);
  b.see(peer);
  assert.deepEqual(b.said('topology.linkWanted'), []);
  assert.deepEqual(agree(b), [peer]);
  assert.deepEqual(b.said('topology.linkWanted'), [{ overlay, peer }]);
  const [link] = b.topology.snapshot(overlay);
  assert.deepEqual(
    [link?.peer, link?.reason, link?.incoming, link?.state],
    [peer, 'successor', null, 'up'],
  );
});

test('a whole login is one plan: no link of it is asked for and given up', (t) => {
  const b = bench(t);
  b.see(...Array.from({ length: 40 }, (_, n) => id(n + 2)));
  const first = agree(b);
  b.time.runUntil(b.time.nowMs + 10_000);
  agree(b);
  assert.ok(first.length > 0 && first.length <= defaultTopology.maxConcurrent);
  assert.deepEqual(b.said('topology.linkUnwanted'), []);
  assert.ok(b.topology.snapshot(overlay).length < 12, 'not everybody');
});

test('a link that is wanted again before it has drained goes on', (t) => {
  const b = bench(t, { manual: true, staticEdges: [peer] });
  b.see(peer);
  b.said('topology.messageReady'); // not answered yet: only the peer's claim counts
  b.hear(peer, { kind: 'link-request', claim: 1, reason: 'static' });
  b.path(peer, 'direct-host');
  const stateNow = (): string | undefined => b.topology.snapshot(overlay)[0]?.state;
  assert.equal(stateNow(), 'up');
  b.hear(peer, { kind: 'link-ended', claim: 1, leaving: false });
  assert.deepEqual(b.said('topology.linkUnwanted').length, 1);
  assert.equal(stateNow(), 'asking', 'what is being ended is not up');
  b.hear(peer, { kind: 'link-request', claim: 2, reason: 'static' });
  assert.equal(stateNow(), 'up', 'the path was never down');
});

test('a path through other members is no link', (t) => {
  const b = bench(t);
  b.see(peer);
  const [request] = b.said('topology.messageReady');
  assert.ok(request?.message.kind === 'link-request');
  b.hear(peer, { kind: 'link-answer', claim: request.message.claim, refusal: null });
  b.path(peer, 'ring');
  assert.equal(b.topology.snapshot(overlay)[0]?.state, 'setting-up');
  b.path(peer, 'turn');
  assert.equal(b.topology.snapshot(overlay)[0]?.state, 'up');
  b.path(peer, 'ring');
  assert.equal(b.topology.snapshot(overlay)[0]?.state, 'down');
});

test('a request is answered, in an overlay that this node is not in too', (t) => {
  const b = bench(t);
  b.see(peer);
  b.said('topology.messageReady');
  b.hear(peer, { kind: 'link-request', claim: 7, reason: 'static' });
  const answer = (refusal: 'unknown-overlay' | null) => ({
    to: peer,
    message: { kind: 'link-answer', claim: 7, refusal },
  });
  assert.deepEqual(b.said('topology.messageReady'), [{ overlay, ...answer(null) }]);
  const other = OverlayId.parse('other');
  b.hear(peer, { kind: 'link-request', claim: 7, reason: 'static' }, other);
  assert.deepEqual(b.said('topology.messageReady'), [
    { overlay: other, ...answer('unknown-overlay') },
  ]);
  b.hear(peer, { kind: 'link-ended', claim: 7, leaving: false }, other);
  assert.deepEqual(b.said('topology.messageReady'), []);
});

test('numbers of claims are wall-clock times, so that they grow over restarts', (t) => {
  const b = bench(t);
  b.see(peer);
  const [request] = b.said('topology.messageReady');
  assert.ok(request?.message.kind === 'link-request');
  assert.ok(request.message.claim >= b.time.clock().wallNow() - 1_000);
});

test('without signalling a link can still be agreed on; who is removed loses it', (t) => {
  const b = bench(t, { minSuccessors: 1, maxLongDistance: 0 });
  const others = Array.from({ length: 12 }, (_, n) => id(n + 2));
  b.see(...others);
  agree(b);
  for (const each of others) b.lose(each, 'signal-lost');
  const far = id(9);
  b.measure([{ peer: far, bytesPerSecond: 20_000_000 }]);
  b.time.runUntil(b.time.nowMs + 1_000);
  assert.deepEqual(agree(b), [far]);
  assert.equal(b.topology.snapshot(overlay).find((l) => l.peer === far)?.reason, 'on-demand');
  b.lose(far, 'removed');
  assert.deepEqual(
    b.said('topology.linkUnwanted').map((e) => e.peer),
    [far],
  );
});

test('leaving is said to everybody, once, and nothing is wanted any more', (t) => {
  const b = bench(t);
  b.see(peer, id(3));
  agree(b);
  b.topology.leave();
  const said = b.said('topology.messageReady');
  assert.deepEqual(said.map(({ to }) => to).sort(), [peer, id(3)]);
  assert.ok(said.every(({ message }) => message.kind === 'link-ended' && message.leaving));
  b.see(id(4));
  b.time.runUntil(b.time.nowMs + 120_000);
  assert.deepEqual(b.said('topology.messageReady'), []);
});

test('after the stop no timer is left', (t) => {
  const b = bench(t);
  b.see(peer);
  b.topology.stop();
  b.said('topology.messageReady');
  b.time.runUntil(b.time.nowMs + 600_000);
  assert.deepEqual(b.said('topology.messageReady'), []);
});
