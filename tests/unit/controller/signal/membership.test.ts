/** The membership machine: who is a member, who is reachable where. */
import assert from 'node:assert/strict';
import { NodeId } from '../../../../base/ids.ts';
import {
  initialMembership,
  isMember,
  type Membership,
  type MembershipEffect,
  type MembershipInput,
  nextMembership,
  nodeOf,
} from '../../../../controller/signal/core/membership.ts';
import { maxMembers } from '../../../../controller/signal/core/roster.ts';
import { suite } from '../../../support/harness.ts';

const test = suite('membership');
const node = (n: number): NodeId => NodeId.parse(n.toString(16).padStart(32, '0'));
const self = node(99);
const own = 'me@lab.test';
const b1 = 'bob@lab.test/1';
const b2 = 'bob@lab.test/2';

const online = (...accounts: readonly string[]): MembershipInput => ({
  kind: 'online',
  jid: `${own}/x`,
  roster: accounts.map((account) => ({ account, member: true })),
});
const announced = (jid: string, n: number, issuedAtMs = 1, name = `n${n}`): MembershipInput => ({
  kind: 'announced',
  jid,
  node: node(n),
  name,
  leaf: false,
  addresses: [],
  issuedAtMs,
});
const unavailable = (jid: string): MembershipInput => ({ kind: 'unavailable', jid });
const roster = (account: string, member: boolean): MembershipInput => ({
  kind: 'roster-changed',
  items: [{ account, member }],
});
const seen = (n: number, account = 'bob@lab.test', name = `n${n}`): MembershipEffect => ({
  kind: 'seen',
  node: node(n),
  name,
  account,
  leaf: false,
  addresses: [],
});
const lost = (n: number, reason: 'left' | 'removed' | 'signal-lost'): MembershipEffect => ({
  kind: 'lost',
  node: node(n),
  reason,
});

function run(inputs: readonly MembershipInput[]): {
  readonly state: Membership;
  readonly effects: readonly MembershipEffect[];
} {
  let state = initialMembership(self, own);
  const effects: MembershipEffect[] = [];
  for (const input of inputs) {
    const step = nextMembership(state, input);
    state = step.state;
    effects.push(...step.effects);
  }
  return { state, effects };
}

const bob = online('bob@lab.test');
const rows: readonly (readonly [
  string,
  readonly MembershipInput[],
  readonly MembershipEffect[],
])[] = [
  ['a member that announces itself is seen', [bob, announced(b1, 1)], [seen(1)]],
  ['once, however often it repeats', [bob, announced(b1, 1), announced(b1, 1)], [seen(1)]],
  ['a stranger is not', [bob, announced('eve@lab.test/1', 1)], []],
  ['nobody is before the roster is known', [announced(b1, 1)], []],
  ['another node of our account is a member', [bob, announced(`${own}/y`, 1)], [seen(1, own)]],
  ['our own announcement means nothing', [bob, announced(`${own}/y`, 99)], []],
  ['unavailable is left', [bob, announced(b1, 1), unavailable(b1)], [seen(1), lost(1, 'left')]],
  ['once', [bob, announced(b1, 1), unavailable(b1), unavailable(b1)], [seen(1), lost(1, 'left')]],
  ['unavailable of nobody means nothing', [bob, unavailable(b1)], []],
  [
    'after it left it is seen again, also with an older announcement',
    [bob, announced(b1, 1, 5), unavailable(b1), announced(b1, 1, 4)],
    [seen(1), lost(1, 'left'), seen(1)],
  ],
  [
    'the latest of two JIDs with one node counts, and the older one leaving does not matter',
    [bob, announced(b1, 1, 5), announced(b2, 1, 6), unavailable(b1)],
    [seen(1)],
  ],
  [
    'an older announcement from elsewhere does not take the node over',
    [bob, announced(b1, 1, 5), announced(b2, 1, 4), unavailable(b1)],
    [seen(1), lost(1, 'left')],
  ],
  [
    'a JID that announces another node has lost the first',
    [bob, announced(b1, 1), announced(b1, 2)],
    [seen(1), lost(1, 'left'), seen(2)],
  ],
  [
    'a new name is news',
    [bob, announced(b1, 1), announced(b1, 1, 2, 'x')],
    [seen(1), seen(1, 'bob@lab.test', 'x')],
  ],
  [
    'a removed account is removed',
    [bob, announced(b1, 1), roster('bob@lab.test', false)],
    [seen(1), lost(1, 'removed')],
  ],
  [
    'also when it had left before, since its link may be up',
    [bob, announced(b1, 1), unavailable(b1), roster('bob@lab.test', false)],
    [seen(1), lost(1, 'left'), lost(1, 'removed')],
  ],
  [
    'an account that is added counts from then on',
    [online(), announced(b1, 1), roster('bob@lab.test', true), announced(b1, 1)],
    [seen(1)],
  ],
  [
    'offline loses the signal of those that are reachable',
    [
      bob,
      announced(b1, 1),
      announced(b2, 2),
      unavailable(b2),
      { kind: 'offline' },
      { kind: 'offline' },
    ],
    [seen(1), seen(2), lost(2, 'left'), lost(1, 'signal-lost')],
  ],
  [
    'who was removed while we were away is removed at the next login',
    [bob, announced(b1, 1), { kind: 'offline' }, online()],
    [seen(1), lost(1, 'signal-lost'), lost(1, 'removed')],
  ],
  [
    'a push cannot remove our own account',
    [bob, announced(`${own}/y`, 1), roster(own, false)],
    [seen(1, own)],
  ],
];
for (const [title, inputs, effects] of rows) {
  test(title, () => assert.deepEqual(run(inputs).effects, effects));
}

test('a JID stands for its node only while it is there', () => {
  const { state } = run([bob, announced(b1, 1)]);
  assert.equal(nodeOf(state, b1), node(1));
  assert.equal(nodeOf(state, b2), null);
  assert.equal(nodeOf(nextMembership(state, unavailable(b1)).state, b1), null);
});

test('members and nodes are bounded, and what is beyond is counted', () => {
  const many = Array.from({ length: maxMembers + 5 }, (_, i) => `u${i}@lab.test`);
  const { state } = run([online(...many)]);
  assert.equal(state.roster.size, maxMembers);
  assert.equal(state.overflow, 5);
  assert.ok(!isMember(state, `u${maxMembers}@lab.test`));
  const peers = new Map(
    Array.from({ length: maxMembers }, (_, i) => [
      node(i + 1_000),
      {
        account: 'bob@lab.test',
        name: 'x',
        jid: i === 7 ? null : `bob@lab.test/r${i}`,
        leaf: false,
        addresses: [],
        awaited: false,
        issuedAtMs: 1,
      },
    ]),
  );
  const full = { ...run([bob]).state, peers };
  const first = nextMembership(full, announced(b1, 1));
  assert.equal(first.state.peers.size, maxMembers);
  assert.ok(!first.state.peers.has(node(1_007)), 'the one that is not reachable makes room');
  const second = nextMembership(first.state, announced(b2, 2));
  assert.deepEqual(second.effects, []);
  assert.equal(second.state.overflow, 1);
});

test('who does not come back with our own signalling has left meanwhile', () => {
  const back: readonly MembershipInput[] = [
    online('bob@lab.test'),
    announced(b1, 1),
    announced(b2, 2),
    { kind: 'offline' },
    online('bob@lab.test'),
    announced(b1, 1, 2),
  ];
  const settled: MembershipInput = { kind: 'settled' };
  const { effects } = run([...back, settled, settled]);
  assert.deepEqual(effects.slice(2), [
    lost(1, 'signal-lost'),
    lost(2, 'signal-lost'),
    seen(1),
    lost(2, 'left'),
  ]);
  const offlineAgain = run([...back, { kind: 'offline' }, settled]);
  assert.ok(!offlineAgain.effects.some((e) => e.kind === 'lost' && e.reason === 'left'));
});
