/** Who has which pod range: first come, first kept; and what nobody may have. */
import assert from 'node:assert/strict';
import {
  formatAddress,
  formatRange,
  parseInterface,
  parseRange,
  type Range,
} from '../../../../base/cidr.ts';
import { NodeId } from '../../../../base/ids.ts';
import {
  graceMs,
  type MembersInput,
  type MembersState,
  nextMembers,
  noMembers,
  routesOf,
  routingAddresses,
  type Surroundings,
} from '../../../../controller/pods/core/members.ts';
import { suite } from '../../../support/harness.ts';

const test = suite('pod members');

const node = (digit: string): NodeId => NodeId.parse(digit.repeat(32));
const [self, b, c] = [node('a'), node('b'), node('c')];
function range(text: string): Range {
  const found = parseRange(text);
  assert.ok(found !== null, text);
  return found;
}
const around: Surroundings = {
  self,
  own: [range('10.42.1.0/24')],
  links: ['10.77.0.1/24', 'fd77::1/64'].map(parseInterface).filter((each) => each !== null),
  cluster: [],
  reserved: [
    { range: range('10.96.0.0/12'), what: 'the services' },
    { range: range('192.168.1.0/24'), what: 'of eth0 on this host' },
  ],
  isOnline: true,
};

const announced = (who: NodeId, ranges: string[], addresses = ['10.77.0.2']): MembersInput => ({
  kind: 'announced',
  node: who,
  name: who.slice(0, 1),
  addresses,
  ranges,
});

const run = (
  inputs: readonly MembersInput[],
  from = noMembers,
  nowMs = 0,
  where = around,
): MembersState => inputs.reduce((state, input) => nextMembers(state, input, where, nowMs), from);

const routes = (state: MembersState, where = around): readonly string[] =>
  routesOf(state, where).map(
    ({ range: to, via }) => `${formatRange(to)} ${via === null ? '-' : formatAddress(via)}`,
  );
const reasons = (state: MembersState): readonly string[] =>
  state.refused.map(({ reason }) => reason);

test('a member is reached by its address in the overlay, each family by its own', () => {
  const state = run([announced(b, ['10.42.2.0/24', 'fd42:0:0:2::/64'], ['10.77.0.2', 'fd77::2'])]);
  assert.deepEqual(routes(state), ['10.42.2.0/24 10.77.0.2', 'fd42:0:0:2::/64 fd77::2']);
  assert.deepEqual(routes(run([{ kind: 'removed', node: b }], state)), []);
});

test('what is ours, the host’s, the services’ or nobody’s is refused by name', () => {
  const ranges = [
    '10.42.1.128/25',
    '0.0.0.0/0',
    '10.97.0.0/16',
    '192.168.0.0/16',
    '10.77.0.0/16',
    '224.0.0.0/24',
    '10.0.0.0/8',
    '10.42.2.1/24',
  ];
  const state = run([announced(b, ranges)]);
  assert.deepEqual(routes(state), []);
  assert.deepEqual(reasons(state), [
    'overlaps 10.42.1.0/24, the range of this node',
    'is a default route',
    'overlaps 10.96.0.0/12, the services',
    'overlaps 192.168.1.0/24, of eth0 on this host',
    'overlaps 10.77.0.0/24, the overlay itself',
    'is not for hosts',
    'is wider than a /12',
    'is no range',
  ]);
  assert.deepEqual(state.refused.map(({ isOurs }) => isOurs).slice(0, 2), [true, true]);
});

test('with a cluster range all else is refused', () => {
  const where = { ...around, cluster: [range('10.42.0.0/16')] };
  const state = run([announced(b, ['10.43.0.0/24', '10.42.2.0/24'])], noMembers, 0, where);
  assert.deepEqual(reasons(state), ['is outside of 10.42.0.0/16']);
  assert.deepEqual(routes(state), ['10.42.2.0/24 10.77.0.2']);
});

test('a range belongs to who had it first, until that one gives it up', () => {
  const state = run([
    announced(b, ['10.42.2.0/24']),
    announced(c, ['10.42.2.0/25'], ['10.77.0.3']),
  ]);
  assert.deepEqual(routes(state), ['10.42.2.0/24 10.77.0.2']);
  assert.deepEqual(reasons(state), ['overlaps 10.42.2.0/24 of node b, which had it first']);
  const moved = run([announced(b, ['10.42.9.0/24'])], state);
  assert.deepEqual([...routes(moved)].sort(), ['10.42.2.0/25 10.77.0.3', '10.42.9.0/24 10.77.0.2']);
  assert.deepEqual(reasons(moved), []);
});

test('an address is of who had it first, and never ours or off the link', () => {
  const twice = run([announced(b, ['10.42.2.0/24']), announced(c, ['10.42.3.0/24'])]);
  assert.deepEqual(routes(twice), ['10.42.2.0/24 10.77.0.2', '10.42.3.0/24 -']);
  for (const address of ['10.77.0.1', '8.8.8.8', 'fd77::2']) {
    assert.deepEqual(routes(run([announced(b, ['10.42.2.0/24'], [address])])), ['10.42.2.0/24 -']);
  }
});

test('a member that is merely off XMPP keeps its routes while its link stands', () => {
  const linked = run([
    announced(b, ['10.42.2.0/24']),
    { kind: 'linked', node: b },
    { kind: 'unreachable', node: b },
  ]);
  const later = run([{ kind: 'tick' }], linked, 10 * graceMs);
  assert.equal(routes(later).length, 1);
  const silent = run([{ kind: 'unlinked', node: b }], later, 10 * graceMs);
  assert.equal(routes(run([{ kind: 'tick' }], silent, 11 * graceMs - 1)).length, 1);
  assert.equal(routes(run([{ kind: 'tick' }], silent, 11 * graceMs)).length, 0);
});

test('while we are off XMPP ourselves nobody is silent', () => {
  const offline = { ...around, isOnline: false };
  const lost = run(
    [announced(b, ['10.42.2.0/24']), { kind: 'unreachable', node: b }],
    noMembers,
    0,
    offline,
  );
  assert.equal(routes(run([{ kind: 'tick' }], lost, 100 * graceMs, offline)).length, 1);
  const back = run([{ kind: 'tick' }], lost, 100 * graceMs);
  assert.equal(routes(run([{ kind: 'tick' }], back, 101 * graceMs)).length, 0);
});

test('a silent member gives way to a live one, a live one does not', () => {
  const claim = announced(c, ['10.42.2.0/24'], ['10.77.0.3']);
  const silent = run([announced(b, ['10.42.2.0/24']), { kind: 'unreachable', node: b }, claim]);
  assert.deepEqual(routes(silent), ['10.42.2.0/24 10.77.0.3']);
  const back = run([{ kind: 'seen', node: b }], silent);
  assert.deepEqual(routes(back), ['10.42.2.0/24 10.77.0.3']);
});

test('members that announce pods, or none but their address, have a way back; others have not', () => {
  const state = run([
    announced(b, ['10.42.2.0/24'], ['10.77.0.2', 'fd77::2']),
    announced(c, [], ['10.77.0.3', '10.77.0.1', '192.0.2.1']),
  ]);
  assert.deepEqual(routingAddresses(state, around).map(formatAddress), [
    '10.77.0.2',
    'fd77::2',
    '10.77.0.3',
  ]);
});
