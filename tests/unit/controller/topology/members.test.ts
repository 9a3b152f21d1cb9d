/** The member table: who is wanted, and when a link outlives its peer's presence. */
import assert from 'node:assert/strict';
import { NodeId } from '../../../../base/ids.ts';
import {
  type MembersEffect,
  type MembersInput,
  maxMembers,
  nextMembers,
  noMembers,
} from '../../../../controller/topology/core/members.ts';
import { suite } from '../../../support/harness.ts';

const test = suite('topology members');
const id = (n: number): NodeId => NodeId.parse(n.toString(16).padStart(32, '0'));
const self = id(1);
const peer = id(2);

function run(...inputs: MembersInput[]): MembersEffect[] {
  let state = noMembers(self);
  let last: readonly MembersEffect[] = [];
  for (const input of inputs) {
    const next = nextMembers(state, input);
    state = next.state;
    last = next.effects;
  }
  return [...last];
}

test('a member that is seen is wanted, and again on each sight', () => {
  assert.deepEqual(run({ kind: 'seen', peer }), [{ kind: 'want', peer }]);
  assert.deepEqual(run({ kind: 'seen', peer }, { kind: 'seen', peer }), [{ kind: 'want', peer }]);
});

test('a node does not want itself', () => {
  assert.deepEqual(run({ kind: 'seen', peer: self }), []);
});

test('a peer that leaves before its link stood is unwanted', () => {
  assert.equal(
    run({ kind: 'seen', peer }, { kind: 'lost', peer, reason: 'left' })[0]?.kind,
    'unwant',
  );
});

test('a link that stands outlives the presence of its peer, but not its own end', () => {
  const up: MembersInput[] = [
    { kind: 'seen', peer },
    { kind: 'link-up', peer },
  ];
  assert.deepEqual(run(...up, { kind: 'lost', peer, reason: 'left' }), []);
  assert.deepEqual(run(...up, { kind: 'lost', peer, reason: 'signal-lost' }), []);
  const ended = run(...up, { kind: 'lost', peer, reason: 'left' }, { kind: 'link-down', peer });
  assert.equal(ended[0]?.kind, 'unwant');
});

test('a reachable peer stays wanted when its link goes down', () => {
  assert.deepEqual(
    run({ kind: 'seen', peer }, { kind: 'link-up', peer }, { kind: 'link-down', peer }),
    [],
  );
});

test('a removed member is unwanted at once, link or not', () => {
  const ended = run(
    { kind: 'seen', peer },
    { kind: 'link-up', peer },
    { kind: 'lost', peer, reason: 'removed' },
  );
  assert.equal(ended[0]?.kind, 'unwant');
});

test('the table is bounded', () => {
  let state = noMembers(self);
  for (let n = 2; n < maxMembers + 10; n += 1) {
    state = nextMembers(state, { kind: 'seen', peer: id(n) }).state;
  }
  assert.equal(state.members.size, maxMembers);
});
