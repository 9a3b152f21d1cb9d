/**
 * One fabric with made-up neighbours: where it sends what, what it refuses, and that what others can
 * grow is bounded.
 */
import assert from 'node:assert/strict';
import type { NodeId } from '../../../../../base/ids.ts';
import { avoidMs } from '../../../../../tincan-bridge/fabric/core/avoided-hops.ts';
import { maxHeld, maxWaiting, waitingMs } from '../../../../../tincan-bridge/fabric/core/flood.ts';
import type { FloodHeader } from '../../../../../tincan-bridge/fabric/core/flood-codec.ts';
import { refreshMs } from '../../../../../tincan-bridge/fabric/core/neighbourhood.ts';
import {
  type FabricEffect,
  RingFabric,
} from '../../../../../tincan-bridge/fabric/core/ring-fabric.ts';
import { defaultTtl } from '../../../../../tincan-bridge/fabric/core/route.ts';
import { wayMs } from '../../../../../tincan-bridge/fabric/core/ways.ts';
import { suite } from '../../../../support/harness.ts';
import { random32, randomId, seeded } from '../../../../support/virtual-time.ts';

const test = suite('ring fabric');

/** Ids in ring order; this node is the first of them. */
function fabricOf(
  count: number,
  print?: (payload: string) => number,
): { fabric: RingFabric<string>; ids: readonly NodeId[] } {
  const random = seeded(count);
  const ids = Array.from({ length: count }, () => randomId(random)).sort();
  const [self] = ids;
  assert.ok(self !== undefined);
  const fabric = new RingFabric<string>(
    { self, transit: true, random32: () => random32(random) },
    print,
  );
  fabric.setMembers(ids, new Set());
  return { fabric, ids };
}

const at = (ids: readonly NodeId[], index: number): NodeId => {
  const id = ids[index];
  assert.ok(id !== undefined);
  return id;
};

const kinds = (effects: readonly FabricEffect<string>[]): readonly string[] =>
  effects.map((effect) => (effect.kind === 'control' ? effect.control.kind : effect.kind));

test('a neighbour, else the nearest in sight, is next; never the one it came from', () => {
  const { fabric, ids } = fabricOf(20);
  fabric.linkUp(at(ids, 1), 0);
  fabric.linkUp(at(ids, 8), 0);
  fabric.control(at(ids, 1), { kind: 'neighbours', transit: true, neighbours: [at(ids, 11)] }, 0);
  const next = (to: number, from: number | null): NodeId | null =>
    fabric.router.next(at(ids, to), from === null ? null : at(ids, from), 0);
  assert.equal(next(8, null), at(ids, 8));
  assert.equal(next(11, null), at(ids, 1), 'by look-ahead');
  assert.equal(next(8, 8), null);
  assert.notEqual(next(11, 1), at(ids, 1));
});

test('a dead end is answered to the source, and searched for', () => {
  const { fabric, ids } = fabricOf(20);
  fabric.linkUp(at(ids, 1), 0);
  const envelope = { source: at(ids, 5), destination: at(ids, 18), ttl: 9 };
  const { via, effects } = fabric.envelope(envelope, at(ids, 1), 0);
  assert.equal(via, null);
  assert.deepEqual(kinds(effects), ['search', 'dead-end']);
  const own = fabric.envelope({ ...envelope, source: at(ids, 0) }, null, 0);
  assert.deepEqual(kinds(own.effects), ['dead-end']);
  assert.equal(fabric.router.counts.deadEnds, 2);
});

test('a ttl that is used up ends an envelope', () => {
  const { fabric, ids } = fabricOf(4);
  fabric.linkUp(at(ids, 1), 0);
  fabric.linkUp(at(ids, 2), 0);
  const envelope = { source: at(ids, 1), destination: at(ids, 2), ttl: 1 };
  assert.equal(fabric.envelope(envelope, at(ids, 1), 0).via, null);
  assert.equal(fabric.router.counts.ttlExpired, 1);
  const passed = fabric.envelope({ ...envelope, ttl: 2 }, at(ids, 1), 0);
  assert.deepEqual([passed.via, passed.ttl], [at(ids, 2), 1]);
});

test('a found way is remembered for a while, with a ttl that suits it', () => {
  const { fabric, ids } = fabricOf(20);
  fabric.linkUp(at(ids, 1), 0);
  const target = at(ids, 18);
  const [effect] = fabric.router.search(target, 0);
  assert.ok(effect?.kind === 'send' && effect.control.kind === 'search');
  const { number, origin } = effect.control;
  const version = fabric.version;
  const found = { kind: 'found', origin, target, number, hops: 99 } as const;
  assert.deepEqual(kinds(fabric.control(at(ids, 1), { ...found, number: number ^ 1 }, 5)), []);
  assert.deepEqual(kinds(fabric.control(at(ids, 1), found, 5)), ['way']);
  assert.equal(fabric.router.next(target, null, 5), at(ids, 1));
  assert.equal(fabric.router.ttlTo(target, 5), 116);
  assert.ok(fabric.version > version);
  assert.equal(fabric.router.next(target, null, 5 + wayMs), null);
  assert.equal(fabric.router.ttlTo(target, 5 + wayMs), defaultTtl);
});

test('a search is sent on once, answered once, and not brought without end by one neighbour', () => {
  const { fabric, ids } = fabricOf(20);
  for (const index of [1, 2, 3]) fabric.linkUp(at(ids, index), 0);
  const search = {
    kind: 'search',
    origin: at(ids, 9),
    target: at(ids, 18),
    number: 5,
    ttl: 4,
    anew: false,
  } as const;
  assert.equal(fabric.control(at(ids, 1), search, 0).length, 2);
  assert.equal(fabric.control(at(ids, 2), search, 0).length, 0);
  const mine = { ...search, target: at(ids, 0), number: 6 };
  assert.deepEqual(kinds(fabric.control(at(ids, 1), mine, 0)), ['found']);
  assert.deepEqual(kinds(fabric.control(at(ids, 2), mine, 0)), []);
  assert.equal(fabric.control(at(ids, 1), { ...search, number: 7, ttl: 1 }, 0).length, 0);
  for (let number = 100; number < 5_000; number += 1) {
    fabric.control(at(ids, 1), { ...search, number }, 0);
  }
  assert.ok(fabric.router.counts.searchesDropped > 3_000);
  assert.equal(fabric.control(at(ids, 2), { ...search, number: 9_999 }, 0).length, 2);
});

test('a narrow search goes only to those that have the target in sight', () => {
  const { fabric, ids } = fabricOf(20);
  for (const index of [1, 2, 3, 4]) fabric.linkUp(at(ids, index), 0);
  const target = at(ids, 18);
  const search = { kind: 'search', origin: at(ids, 9), target, ttl: 1, anew: false } as const;
  const askedBy = (from: number, number: number): readonly number[] =>
    fabric
      .control(at(ids, from), { ...search, number }, 0)
      .flatMap((effect) => (effect.kind === 'control' ? [ids.indexOf(effect.to)] : []));
  assert.deepEqual(askedBy(1, 1), []);
  const neighbours = [target];
  for (const index of [2, 3]) {
    fabric.control(at(ids, index), { kind: 'neighbours', transit: true, neighbours }, 0);
  }
  assert.deepEqual(askedBy(1, 2), [2, 3]);
  assert.deepEqual(askedBy(2, 3), [3], 'never back');
  fabric.linkUp(target, 0);
  assert.ok(askedBy(1, 4).includes(18));
});

test('a search widens, longer where answers take long, and an answer to an earlier try counts', () => {
  const { fabric, ids } = fabricOf(20);
  fabric.linkUp(at(ids, 1), 0);
  const tries = (target: NodeId, fromMs: number, toMs: number) => {
    const asked: { atMs: number; ttl: number; number: number }[] = [];
    const note = (effects: readonly { kind: string }[], atMs: number): void => {
      for (const effect of effects as ReturnType<typeof fabric.tick>) {
        if (effect.kind !== 'control' || effect.control.kind !== 'search') continue;
        asked.push({ atMs, ttl: effect.control.ttl, number: effect.control.number });
      }
    };
    for (const effect of fabric.router.search(target, fromMs)) {
      if (effect.kind === 'send') note([{ ...effect, kind: 'control' }], fromMs);
    }
    for (let now = fromMs + 50; now < toMs; now += 50) note(fabric.tick(now), now);
    return asked;
  };
  const first = tries(at(ids, 18), 0, 4_000);
  assert.deepEqual(
    first.map(({ atMs, ttl }) => [atMs, ttl]),
    [
      [0, 1],
      [200, 16],
      [1_700, 255],
    ],
  );
  const { number = 0 } = first[1] ?? {};
  const origin = at(ids, 0);
  const found = { kind: 'found', origin, target: at(ids, 18), number, hops: 3 } as const;
  assert.deepEqual(kinds(fabric.control(at(ids, 1), found, 4_000)), ['way']);
  const later = (target: NodeId, fromMs: number) =>
    tries(target, fromMs, fromMs + 20_000).map(({ atMs, ttl }) => [atMs - fromMs, ttl]);
  assert.deepEqual(later(at(ids, 17), 4_000), [
    [0, 1],
    [1_000, 16],
    [4_750, 255],
  ]);
  assert.deepEqual(
    later(at(ids, 16), 60_000),
    [
      [0, 1],
      [200, 16],
      [1_700, 255],
    ],
    'a storm is forgotten',
  );
});

/** A search from here whose answer came over `via`. */
function find(fabric: RingFabric<string>, target: NodeId, via: NodeId): void {
  const [asked] = fabric.router.search(target, 0);
  assert.ok(asked?.kind === 'send' && asked.control.kind === 'search');
  const { origin, number } = asked.control;
  fabric.control(via, { kind: 'found', origin, target, number, hops: 3 }, 0);
}

test('who says that it has a link knows better than a way that was found a while ago', () => {
  const { fabric, ids } = fabricOf(20);
  const [former, friend, target] = [at(ids, 1), at(ids, 2), at(ids, 10)];
  for (const via of [former, friend]) fabric.linkUp(via, 0);
  find(fabric, target, former);
  const { router } = fabric;
  assert.equal(router.next(target, null, 60_000), former);
  fabric.control(friend, { kind: 'neighbours', transit: true, neighbours: [target] }, 0);
  assert.equal(router.next(target, null, 10_000), former, 'it was heard there just now');
  assert.equal(router.next(target, null, 60_000), friend);
  assert.equal(router.next(target, friend, 60_000), former, 'never back');
});

test('a member that was away, or not there, has come with other links', () => {
  const { fabric, ids } = fabricOf(20);
  const [via, target] = [at(ids, 1), at(ids, 10)];
  const none = new Set<NodeId>();
  fabric.linkUp(via, 0);
  const isKnown = (): boolean => {
    find(fabric, target, via);
    fabric.setMembers(ids, none);
    return fabric.router.explain(target, 0).how === 'searched';
  };
  assert.ok(isKnown(), 'nothing has happened to it');
  fabric.setMembers(ids, none, new Set([target]));
  assert.ok(!isKnown());
  const others = ids.filter((id) => id !== target);
  fabric.setMembers(others, none);
  assert.ok(!isKnown());
});

test('nobody’s way leads over a leaf', () => {
  const { fabric, ids } = fabricOf(20);
  fabric.linkUp(at(ids, 1), 0);
  fabric.linkUp(at(ids, 9), 0);
  fabric.setMembers(ids, new Set([at(ids, 9)]));
  assert.equal(fabric.router.next(at(ids, 9), null, 0), at(ids, 9));
  assert.notEqual(fabric.router.next(at(ids, 10), null, 0), at(ids, 9));
});

const header = (ids: readonly NodeId[], change: Partial<FloodHeader> = {}): FloodHeader => ({
  origin: at(ids, 3),
  nonce: 1n,
  target: at(ids, 0),
  bound: at(ids, 3),
  ttl: 9,
  hops: 0,
  ...change,
});

test('a broadcast gives each neighbour the interval up to the next one, and covers gaps', () => {
  const { fabric, ids } = fabricOf(10);
  for (const index of [2, 5, 9]) fabric.linkUp(at(ids, index), 0);
  fabric.control(at(ids, 9), { kind: 'neighbours', transit: true, neighbours: [at(ids, 1)] }, 0);
  const sent = fabric.broadcast('x', 0).flatMap((effect) => {
    if (effect.kind !== 'flood') return [];
    const { target, bound } = effect.flood.header;
    return [[effect.to, target, bound].map((id) => ids.indexOf(id))];
  });
  assert.deepEqual(sent, [
    [9, 1, 2],
    [2, 2, 5],
    [5, 5, 9],
    [9, 9, 0],
  ]);
});

test('a flood is delivered once; echoes, strangers and others’ are not', () => {
  const { fabric, ids } = fabricOf(6);
  fabric.linkUp(at(ids, 5), 0);
  const receive = (change: Partial<FloodHeader>): readonly string[] =>
    kinds(fabric.flood(at(ids, 5), { header: header(ids, change), payload: 'x' }, 0));
  assert.ok(receive({}).includes('deliver'));
  assert.deepEqual(receive({}), []);
  assert.deepEqual(receive({ origin: at(ids, 0), nonce: 2n }), []);
  assert.deepEqual(receive({ origin: randomId(seeded(99)), nonce: 3n }), []);
  assert.ok(!receive({ target: at(ids, 2), nonce: 4n }).includes('deliver'));
  const { delivered, duplicates, echoes, strangers } = fabric.flooder.counts;
  assert.deepEqual(
    { delivered, duplicates, echoes, strangers },
    {
      delivered: 1,
      duplicates: 1,
      echoes: 1,
      strangers: 1,
    },
  );
});

test('a storm of one origin is cut, without harm to the others', () => {
  const { fabric, ids } = fabricOf(6);
  fabric.linkUp(at(ids, 5), 0);
  const receive = (change: Partial<FloodHeader>): readonly string[] =>
    kinds(fabric.flood(at(ids, 5), { header: header(ids, change), payload: 'x' }, 0));
  for (let nonce = 0n; nonce < 10_000n; nonce += 1n) receive({ nonce });
  assert.equal(fabric.flooder.counts.delivered, 4_000);
  assert.equal(fabric.flooder.counts.stormDropped, 6_000);
  assert.ok(receive({ origin: at(ids, 4) }).includes('deliver'));
});

/** Three members: this node, the next one without a link, the last one with. */
function oneGap(): { fabric: RingFabric<string>; ids: readonly NodeId[] } {
  const { fabric, ids } = fabricOf(10);
  fabric.setMembers([at(ids, 0), at(ids, 1), at(ids, 9)], new Set());
  fabric.linkUp(at(ids, 9), 0);
  return { fabric, ids };
}

test('what waits for a way is bounded, and does not wait for ever', () => {
  const { fabric, ids } = oneGap();
  const [from, target] = [at(ids, 9), at(ids, 1)];
  for (let n = 0; n < maxWaiting + 50; n += 1) {
    const asked = header(ids, { origin: from, nonce: BigInt(n), target, bound: from });
    fabric.flood(from, { header: asked, payload: 'x' }, 0);
  }
  assert.equal(fabric.flooder.waiting, maxWaiting);
  assert.equal(fabric.flooder.counts.waitingFull, 50);
  fabric.tick(waitingMs + 1);
  assert.equal(fabric.flooder.waiting, 0);
  assert.equal(fabric.flooder.counts.unreachable, maxWaiting);
});

test('what waits for a node goes when a link to it comes up', () => {
  const { fabric, ids } = oneGap();
  const asked = header(ids, { origin: at(ids, 9), target: at(ids, 1), bound: at(ids, 9) });
  fabric.flood(at(ids, 9), { header: asked, payload: 'x' }, 0);
  const effects = fabric.linkUp(at(ids, 1), 10);
  assert.deepEqual(
    effects.map((effect) => effect.kind === 'flood' && effect.to),
    [at(ids, 1)],
  );
});

/** Targets of the floods among the effects, and whom they are sent to. */
const spreads = (
  effects: readonly FabricEffect<string>[],
): ReadonlyArray<readonly [NodeId, NodeId]> =>
  effects.flatMap((effect) =>
    effect.kind === 'flood' ? [[effect.flood.header.target, effect.to] as const] : [],
  );

test('a broadcast for whom no neighbour is near goes over one all the same, without a search', () => {
  const { fabric, ids } = oneGap();
  const [gap, neighbour] = [at(ids, 1), at(ids, 9)];
  const effects = fabric.broadcast('x', 0);
  assert.deepEqual(spreads(effects), [
    [gap, neighbour],
    [neighbour, neighbour],
  ]);
  assert.deepEqual(kinds(effects), ['flood', 'flood']);
});

test('with no neighbour yet broadcasts are held, bounded, for the first one', () => {
  const { fabric, ids } = fabricOf(10);
  for (let n = 0; n < maxHeld + 5; n += 1) assert.deepEqual(fabric.broadcast('x', n), []);
  assert.equal(fabric.flooder.counts.waitingFull, 5);
  assert.equal(fabric.router.counts.searches, 0);
  const effects = spreads(fabric.linkUp(at(ids, 5), waitingMs));
  assert.equal(effects.filter(([target, to]) => target === to).length, maxHeld);
  fabric.linkDown(at(ids, 5), waitingMs);
  fabric.broadcast('x', waitingMs);
  fabric.tick(2 * waitingMs);
  assert.equal(fabric.flooder.counts.unreachable, 1);
  assert.deepEqual(spreads(fabric.linkUp(at(ids, 5), 2 * waitingMs)), []);
});

test('a question that its host repeats while it is held goes once, and waits as long as the last', () => {
  const { fabric, ids } = fabricOf(10, (payload) => payload.length);
  for (const payload of ['who', 'where', 'who']) fabric.broadcast(payload, 0);
  fabric.broadcast('where', 1_000);
  fabric.tick(waitingMs + 500);
  const to = at(ids, 5);
  const gone = (effects: readonly FabricEffect<string>[]) =>
    spreads(effects).filter(([target, via]) => target === to && via === to).length;
  assert.equal(gone(fabric.linkUp(to, waitingMs + 500)), 1);
  assert.equal(fabric.flooder.counts.unreachable, 1);
  assert.equal(gone(fabric.broadcast('where', waitingMs + 600)), 1);
});

test('the own neighbours are told soon, once more, and then each minute; never more than 64', () => {
  const { fabric, ids } = fabricOf(200);
  for (const id of ids.slice(1)) fabric.linkUp(id, 0);
  const told: number[] = [];
  for (let now = 0; now <= 2 * refreshMs + 2_500; now += 50) {
    const [effect] = fabric.tick(now);
    if (effect?.kind !== 'control' || effect.control.kind !== 'neighbours') continue;
    told.push(now);
    assert.equal(effect.control.neighbours.length, 64);
  }
  assert.deepEqual(told, [200, 2_000, 2_000 + refreshMs, 2_000 + 2 * refreshMs]);
});

test('a neighbour over whom nothing comes back is left for another, for that destination', () => {
  const { fabric, ids } = fabricOf(20);
  const [left, right, target] = [at(ids, 1), at(ids, 2), at(ids, 10)];
  for (const via of [left, right]) {
    fabric.linkUp(via, 0);
    fabric.control(
      via,
      { kind: 'neighbours', transit: true, neighbours: [target, at(ids, 12)] },
      0,
    );
  }
  const { router } = fabric;
  assert.equal(router.next(target, null, 0), left);
  assert.equal(router.avoid(target, 0), left);
  assert.equal(router.next(target, null, 0), right);
  assert.equal(router.next(at(ids, 12), null, 0), left, 'others go on over it');
  const [first] = router.search(target, 0, true);
  assert.ok(first?.kind === 'send' && first.to === right, 'it is not asked either');
  assert.ok(first.control.kind === 'search' && first.control.anew);
  const { number } = first.control;
  const found = { kind: 'found', origin: at(ids, 0), target, number, hops: 0 } as const;
  assert.deepEqual(kinds(fabric.control(left, found, 0)), [], 'nor believed');
  assert.deepEqual(kinds(fabric.control(right, found, 0)), ['way']);
  // With none left that is not in doubt, the first has another chance, and its time passes.
  assert.equal(router.avoid(target, 1), right);
  assert.equal(router.next(target, null, 1), left);
  assert.equal(router.avoid(target, 2), left);
  assert.equal(router.next(target, null, 2), right);
  assert.equal(router.next(target, null, 2 + avoidMs), left);
});

test('the only neighbour, in doubt, is taken again where another search has found a way over it', () => {
  const { fabric, ids } = fabricOf(20);
  const { router } = fabric;
  // Farther from the target than this node is: only a search leads over it.
  const [only, target] = [at(ids, 10), at(ids, 2)];
  fabric.linkUp(only, 0);
  const search = (): void => {
    const [asked] = router.search(target, 0, true);
    assert.ok(asked?.kind === 'send' && asked.to === only && asked.control.kind === 'search');
    const { number } = asked.control;
    const found = { kind: 'found', origin: at(ids, 0), target, number, hops: 1 } as const;
    assert.deepEqual(kinds(fabric.control(only, found, 0)), ['way']);
    assert.equal(router.next(target, null, 0), only);
  };
  assert.equal(router.next(target, null, 0), null);
  search();
  assert.equal(router.avoid(target, 0), only);
  assert.equal(router.next(target, null, 0), null);
  search();
});

test('a neighbour that swallows spreads no broadcast, as long as there is another', () => {
  const { fabric, ids } = fabricOf(20);
  const [bad, good, far] = [at(ids, 3), at(ids, 12), at(ids, 8)];
  fabric.linkUp(bad, 0);
  const boundTo = (id: NodeId): readonly NodeId[] =>
    fabric
      .broadcast('x', 0)
      .flatMap((effect) =>
        effect.kind === 'flood' && effect.flood.header.target === id
          ? [effect.flood.header.bound]
          : [],
      );
  fabric.near.distrust(bad, 0);
  assert.deepEqual(boundTo(bad), [at(ids, 0)], 'nobody else is there');
  fabric.linkUp(good, 0);
  fabric.control(good, { kind: 'neighbours', transit: true, neighbours: [at(ids, 4), far] }, 0);
  const [own] = boundTo(bad);
  assert.ok(own !== undefined && own !== good, 'its own copy alone');
  assert.equal(fabric.dueMs(0), 200, 'its own list is told first');
  fabric.tick(60_000);
  assert.deepEqual(boundTo(bad), [good]);
  assert.equal(fabric.near.isDistrusted(bad), false, 'a minute later it may again');
});

test('who asks over a neighbour is answered there, unless that one is in doubt', () => {
  const { fabric, ids } = fabricOf(20);
  const [left, right, target] = [at(ids, 1), at(ids, 2), at(ids, 10)];
  for (const via of [left, right]) {
    fabric.linkUp(via, 0);
    fabric.control(via, { kind: 'neighbours', transit: true, neighbours: [target] }, 0);
  }
  const { router } = fabric;
  router.hint(target, right, 0);
  assert.equal(router.next(target, null, 0), right);
  assert.equal(router.next(target, null, 30_000), left, 'not for long');
  router.hint(target, right, 30_000);
  router.avoid(target, 30_000);
  router.hint(target, right, 30_001);
  assert.equal(router.next(target, null, 30_001), left);
});
