/**
 * Several bridge cores in one process, joined in a chain A–B–C by cutting what is between A and C: the
 * ring carries frames, broadcasts, messages, pings and handshakes.
 */
import { strict as assert } from 'node:assert';
import { Mac } from '../../base/ids.ts';
import { until } from '../support/bridge-pair.ts';
import { isOwn, numbersOf, type RingBridge, RingLab, testFrame } from '../support/bridge-ring.ts';
import { suite, type T } from '../support/harness.ts';

const test = suite('bridge-ring');
const macA = Mac.parse('02:00:00:00:00:0a');
const macC = Mac.parse('02:00:00:00:00:0c');

interface Chain {
  readonly lab: RingLab;
  readonly a: RingBridge;
  readonly b: RingBridge;
  readonly c: RingBridge;
}

async function chain(t: T): Promise<Chain> {
  const lab = new RingLab(t);
  const a = await lab.add('a');
  const b = await lab.add('b');
  const c = await lab.add('c');
  lab.cut(a, c);
  await lab.members([a, b, c]);
  await lab.link(a, b);
  await lab.link(b, c);
  return { lab, a, b, c };
}

const inject = (bridge: RingBridge, bytes: Uint8Array): void =>
  bridge.datapath.inject({ bytes, offload: null });

/** A's broadcast and C's answer: each knows the other's station, and a session is there. */
async function acquainted(t: T, { a, c }: Chain): Promise<void> {
  inject(a, testFrame('all', macA, 1));
  await until(t, 'the broadcast reaches C', () => numbersOf(c.frames).includes(1));
  inject(c, testFrame(macA, macC, 2));
  await until(t, 'the answer reaches A', () => numbersOf(a.frames).includes(2));
}

test(
  'a broadcast of A reaches C once, the answer comes in a session of its own over B',
  async (t) => {
    const made = await chain(t);
    const { a, b, c } = made;
    await acquainted(t, made);
    assert.equal(a.pathTo(c.id), 'ring');
    assert.equal(c.pathTo(a.id), 'ring');
    assert.equal((await a.session(c.id))?.path.remote, b.id);
    assert.equal(numbersOf(c.frames).filter((n) => n === 1).length, 1);
    assert.equal(numbersOf(b.frames).filter((n) => n === 2).length, 0, 'B cannot read it');
    const relayed = b.datapath.counters().relayed;
    for (let n = 100; n < 150; n += 1) inject(a, testFrame(macC, macA, n));
    await until(t, 'all are there', () => numbersOf(c.frames).filter((n) => n >= 100).length === 50);
    assert.ok(b.datapath.counters().relayed - relayed >= 50, 'relayed by the tables');
  },
  20_000,
);
