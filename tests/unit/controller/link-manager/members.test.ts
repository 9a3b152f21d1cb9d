/** The members that a tunnel process may route to: when one comes, stays and goes. */
import assert from 'node:assert/strict';
import { NodeId } from '../../../../base/ids.ts';
import {
  type MembersEffect,
  type MembersInput,
  membersOf,
  nextMembers,
  noMembers,
} from '../../../../controller/link-manager/core/members.ts';
import { ratesBetween } from '../../../../controller/link-manager/core/traffic-rates.ts';
import { suite } from '../../../support/harness.ts';

const test = suite('link manager members');
const id = (n: number): NodeId => NodeId.parse(n.toString(16).padStart(32, '0'));
const peer = id(2);
const seen: MembersInput = { kind: 'seen', peer, leaf: false, addresses: [] };
const up: MembersInput = { kind: 'session-up', peer };
const down: MembersInput = { kind: 'session-down', peer };
const lost = (reason: 'left' | 'removed' | 'signal-lost'): MembersInput => ({
  kind: 'lost',
  peer,
  reason,
});

/** Who is a member in the end, and what the last input led to. */
function run(...inputs: readonly MembersInput[]): {
  readonly members: readonly NodeId[];
  readonly last: readonly MembersEffect[];
} {
  let state = noMembers;
  let last: readonly MembersEffect[] = [];
  for (const input of inputs) {
    const next = nextMembers(state, input);
    state = next.state;
    last = next.effects;
  }
  return { members: membersOf(state).members, last };
}

const soon: readonly MembersEffect[] = [{ kind: 'tell', when: 'soon' }];

test('who is seen is a member, told once', () => {
  assert.deepEqual(run(seen), { members: [peer], last: soon });
  assert.deepEqual(run(seen, seen), { members: [peer], last: [] });
});

test('one that becomes a leaf is told again, as a leaf', () => {
  const leaf: MembersInput = { ...seen, leaf: true };
  assert.deepEqual(run(seen, leaf).last, soon);
  const { state } = nextMembers(noMembers, leaf);
  const told = { members: [peer], leaves: [peer], away: [], addresses: [] };
  assert.deepEqual(membersOf(state), told);
});

test('one whose host has another address is told again, with it', () => {
  const first: MembersInput = { ...seen, addresses: ['10.77.0.2'] };
  const second: MembersInput = { ...seen, addresses: ['10.77.0.2', 'fd77::2'] };
  assert.deepEqual(run(first, second).last, soon);
  assert.deepEqual(run(first, second, second).last, []);
  assert.deepEqual(membersOf(nextMembers(noMembers, second).state).addresses, [
    { node: peer, address: '10.77.0.2' },
    { node: peer, address: 'fd77::2' },
  ]);
});

test('one that left the server goes at once, or with its session', () => {
  assert.deepEqual(run(seen, lost('left')), { members: [], last: soon });
  assert.deepEqual(run(seen, up, lost('left')), { members: [peer], last: soon });
  assert.deepEqual(run(seen, up, lost('left'), down), { members: [], last: soon });
  assert.deepEqual(run(seen, up, lost('left'), seen, down), { members: [peer], last: [] });
});

test('one that has left the server while its session stands is away, until it is back', () => {
  const away = (...inputs: readonly MembersInput[]): readonly NodeId[] => {
    let state = noMembers;
    for (const input of inputs) state = nextMembers(state, input).state;
    return membersOf(state).away;
  };
  assert.deepEqual(away(seen, up, lost('left')), [peer]);
  assert.deepEqual(away(seen, up, lost('left'), seen), []);
  assert.deepEqual(run(seen, up, lost('left'), seen).last, soon);
  assert.deepEqual(away(seen, up, lost('signal-lost')), []);
});

test('one that said goodbye goes at once, whatever its session does', () => {
  const leaving: MembersInput = { kind: 'leaving', peer };
  const now: readonly MembersEffect[] = [{ kind: 'tell', when: 'now' }];
  assert.deepEqual(run(seen, up, leaving), { members: [], last: now });
  assert.deepEqual(run(seen, up, leaving, lost('left')), { members: [], last: [] });
  assert.deepEqual(run(seen, leaving, lost('left'), seen, up, lost('left')).members, [peer]);
});

test('one that is removed goes at once and now', () => {
  const now: readonly MembersEffect[] = [{ kind: 'tell', when: 'now' }];
  assert.deepEqual(run(seen, up, lost('removed')), { members: [], last: now });
});

test('our own outage takes nobody away', () => {
  assert.deepEqual(run(seen, lost('signal-lost')), { members: [peer], last: [] });
  assert.deepEqual(run(seen, up, lost('signal-lost'), down), { members: [peer], last: [] });
  assert.deepEqual(run(seen, lost('signal-lost'), lost('left')).members, []);
});

test('rates are what counters grew by; a smaller one is that of a new session', () => {
  const reading = (atMs: number, a: number, b: number) => ({
    atMs,
    bytes: new Map([
      [id(1), a],
      [id(2), b],
    ]),
  });
  assert.deepEqual(ratesBetween(null, reading(0, 5, 5)), []);
  assert.deepEqual(ratesBetween(reading(0, 1_000, 50), reading(10_000, 21_000, 50)), [
    { peer: id(1), bytesPerSecond: 2_000 },
  ]);
  assert.deepEqual(ratesBetween(reading(0, 1_000, 0), reading(10_000, 500, 0)), [
    { peer: id(1), bytesPerSecond: 50 },
  ]);
  assert.deepEqual(ratesBetween(reading(5, 0, 0), reading(5, 9, 9)), []);
});
