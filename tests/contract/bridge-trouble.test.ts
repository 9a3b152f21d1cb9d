/**
 * Bridge cores in one process whose surroundings misbehave: a cable between two host sides, a station
 * that moves, a member that swallows what it should send on. Damage is bounded, counted, and heals.
 */
import { strict as assert } from 'node:assert';
import { Mac } from '../../base/ids.ts';
import { encodeOwnFrame } from '../../tincan-bridge/fabric/core/loop-frame.ts';
import { until } from '../support/bridge-pair.ts';
import { numbersOf, type RingBridge, RingLab, testFrame } from '../support/bridge-ring.ts';
import { suite, type T } from '../support/harness.ts';
import { print } from '../support/print.ts';

const test = suite('bridge-trouble');
const macA = Mac.parse('02:00:00:00:00:0a');
const macB = Mac.parse('02:00:00:00:00:0b');
const macC = Mac.parse('02:00:00:00:00:0c');

/** Full mesh of three. */
async function mesh(t: T): Promise<{ lab: RingLab; a: RingBridge; b: RingBridge; c: RingBridge }> {
  const lab = new RingLab(t);
  const [a, b, c] = [await lab.add('a'), await lab.add('b'), await lab.add('c')];
  await lab.members([a, b, c]);
  await lab.link(a, b);
  await lab.link(b, c);
  await lab.link(a, c);
  return { lab, a, b, c };
}

/** Sends until it has arrived, as ARP does; how often. */
async function crosses(
  t: T,
  lab: RingLab,
  [from, to]: readonly [RingBridge, RingBridge],
  frame: (n: number) => Uint8Array,
): Promise<number> {
  const before = to.frames.length;
  const sent = new Set<number>();
  let times = 0;
  await until(
    t,
    `${from.name} reaches ${to.name}`,
    () => {
      if (numbersOf(to.frames.slice(before)).some((n) => sent.has(n))) return true;
      const made = frame(nextNumber++);
      sent.add(numbersOf([made])[0] ?? 0);
      lab.host(from, made);
      times += 1;
      return false;
    },
    10_000,
  );
  return times;
}
let nextNumber = 1_000;

test('two host sides joined by a cable: one TAP closes, B reaches both, all opens when it is pulled', async (t) => {
  const { lab, a, b, c } = await mesh(t);
  const all = (from: Mac) => (n: number) => testFrame('all', from, n);
  await crosses(t, lab, [a, b], all(macA));
  await crosses(t, lab, [c, b], all(macC));
  await crosses(t, lab, [b, a], all(macB));
  await crosses(t, lab, [b, c], all(macB));
  const [open, closed] = a.id < c.id ? [a, c] : [c, a];
  const [macOpen, macClosed] = a.id < c.id ? [macA, macC] : [macC, macA];

  const unplug = lab.plug(a, c);
  const plugged = performance.now();
  const before = b.frames.length;
  lab.host(b, testFrame('all', macB, 1));
  await until(t, 'one closes', async () => (await closed.counter('tapClosed')) === 1, 5_000);
  print(
    `closed after ${Math.round(performance.now() - plugged)} ms, B saw ${b.frames.length - before}`,
  );
  assert.equal(await open.counter('tapClosed'), 0);
  assert.equal(await open.counter('loops'), 1);
  assert.ok(b.frames.length - before < 3_500, 'no more than the storm budget');
  await until(
    t,
    'what was on its way is over',
    async () => {
      const at = b.frames.length;
      await new Promise((resolve) => setTimeout(resolve, 1_200));
      return b.frames.length === at;
    },
    6_000,
  );

  // Both stations are behind the open one now: B reaches either, and is reached.
  const times = [
    await crosses(t, lab, [closed, b], (n) => testFrame(macB, macClosed, n)),
    await crosses(t, lab, [b, open], (n) => testFrame(macClosed, macB, n)),
    await crosses(t, lab, [open, b], (n) => testFrame(macB, macOpen, n)),
    await crosses(t, lab, [b, open], (n) => testFrame(macOpen, macB, n)),
  ];
  print(`frames until the first arrives: ${times.join(', ')}`);
  const quiet = b.frames.length;
  lab.host(b, testFrame('all', macB, 2));
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  assert.equal(b.frames.length, quiet, 'a broadcast does not come back');
  assert.equal(numbersOf(open.frames).filter((n) => n === 2).length, 1);

  unplug();
  await until(t, 'it opens', async () => (await closed.counter('tapClosed')) === 0, 6_000);
  await crosses(t, lab, [closed, b], all(macClosed));
  await crosses(t, lab, [b, closed], (n) => testFrame(macClosed, macB, n));
}, 40_000);

test('a probe that is made up closes nothing: the nonce is asked back', async (t) => {
  const { lab, a, c } = await mesh(t);
  const [small, large] = a.id < c.id ? [a, c] : [c, a];
  const forged = encodeOwnFrame({ kind: 'probe', node: small.id, nonce: 42n });
  const received = async (): Promise<number> =>
    (await small.session(large.id))?.receivedFrames ?? 0;
  const before = await received();
  for (let n = 0; n < 20; n += 1) lab.host(large, forged);
  await until(t, 'it was asked', async () => (await received()) >= before + 20);
  assert.equal(await large.counter('tapClosed'), 0);
  assert.equal(await small.counter('loops'), 0);
}, 20_000);

/** A and C without a path of their own, and two members between them: one swallows at times. */
async function twoWays(t: T, swallows: () => boolean) {
  const lab = new RingLab(t);
  const a = await lab.add('a');
  const c = await lab.add('c');
  const bad = await lab.add('bad', { swallows });
  const good = await lab.add('good');
  lab.cut(a, c);
  await lab.members([a, c, bad, good]);
  for (const between of [bad, good]) {
    await lab.link(a, between);
    await lab.link(between, c);
  }
  return { lab, a, c, bad, good };
}

test('a member that swallows what is not its own is gone around, both ways, and counted', async (t) => {
  let swallowing = false;
  const { lab, a, c, good, bad } = await twoWays(t, () => swallowing);
  await crosses(t, lab, [a, c], (n) => testFrame('all', macA, n));
  await crosses(t, lab, [c, a], (n) => testFrame(macA, macC, n));
  const via = async (x: RingBridge, y: RingBridge): Promise<string> =>
    (await x.session(y.id))?.path.remote ?? '';
  // Whichever way it was, one direction at least shall lead over the bad one.
  print(
    `over the bad one: ${(await via(a, c)) === bad.id} there, ${(await via(c, a)) === bad.id} back`,
  );
  swallowing = true;
  const fromMs = performance.now();
  const heard = (x: RingBridge): number => x.frames.length;
  const [atA, atC] = [heard(a), heard(c)];
  await until(
    t,
    'both directions again',
    () => {
      lab.host(a, testFrame(macC, macA, nextNumber++));
      lab.host(c, testFrame(macA, macC, nextNumber++));
      return heard(a) > atA + 40 && heard(c) > atC + 40;
    },
    15_000,
  );
  const backMs = performance.now() - fromMs;
  const left = (await a.counter('waysLeft')) + (await c.counter('waysLeft'));
  print(`around it after ${Math.round(backMs)} ms, ${left} ways left`);
  // Both may have been over the good one all the while.
  assert.ok(left > 0 || backMs < 3_000);
  assert.equal(a.pathTo(c.id), 'ring');
  assert.deepEqual([await via(a, c), await via(c, a)], [good.id, good.id]);
  const downs = a.told.filter(({ kind, peer }) => kind === 'down' && peer === c.id);
  assert.deepEqual(downs, []);
  // Broadcasts, with the same bytes each time, as ARP asks.
  const [fromA, fromC] = [nextNumber++, nextNumber++];
  print(
    `broadcasts until one arrives: ${await crosses(t, lab, [a, c], () => testFrame('all', macA, fromA))}` +
      ` and ${await crosses(t, lab, [c, a], () => testFrame('all', macC, fromC))}`,
  );
}, 60_000);

test('a handshake over a member that swallows is made over another one', async (t) => {
  const { a, c } = await twoWays(t, () => true);
  const fromMs = performance.now();
  const ping = async (): Promise<boolean> =>
    (await a.bridge.handlers.ping({ peer: c.id, timeoutMs: 4_000 })).rttMs !== null;
  await until(t, 'a session', ping, 15_000);
  print(`a session after ${Math.round(performance.now() - fromMs)} ms`);
}, 40_000);

test('one that swallows behind the only neighbour is gone around too, by searches for another way', async (t) => {
  const lab = new RingLab(t);
  let swallowing = false;
  const a = await lab.add('a');
  const x = await lab.add('x');
  const c = await lab.add('c');
  const bad = await lab.add('bad', { swallows: () => swallowing });
  const good = await lab.add('good');
  lab.cut(a, c);
  await lab.members([a, x, c, bad, good]);
  await lab.link(a, x);
  for (const between of [bad, good]) {
    await lab.link(x, between);
    await lab.link(between, c);
  }
  await crosses(t, lab, [a, c], (n) => testFrame('all', macA, n));
  await crosses(t, lab, [c, a], (n) => testFrame(macA, macC, n));
  const hops = async (): Promise<readonly string[]> =>
    (await a.bridge.handlers.ping({ peer: c.id, timeoutMs: 1_000 })).hops;
  print(`over the bad one at first: ${(await hops()).includes(bad.id)}`);
  swallowing = true;
  const fromMs = performance.now();
  await until(
    t,
    'around it',
    async () => (await hops()).join() === [x.id, good.id, c.id].join(),
    40_000,
  );
  print(`around it after ${Math.round(performance.now() - fromMs)} ms`);
  await crosses(t, lab, [a, c], (n) => testFrame(macC, macA, n));
  await crosses(t, lab, [c, a], (n) => testFrame(macA, macC, n));
}, 60_000);
