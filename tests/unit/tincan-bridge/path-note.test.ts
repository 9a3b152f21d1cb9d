/** What is said about a path that is not the best, which relays are tried first, what routes are. */
import { strict as assert } from 'node:assert';
import { relayOrder } from '../../../tincan-bridge/ice/allocate.ts';
import { defaultRoutes4, defaultRoutes6 } from '../../../tincan-bridge/network/core/routes.ts';
import {
  type Diagnosis,
  pathNote,
  unreachableNote,
} from '../../../tincan-bridge/session/core/path-note.ts';
import { suite } from '../../support/harness.ts';

const test = suite('path notes');

const good: Diagnosis = {
  stunServers: 1,
  stunAnswers: 1,
  relayServers: 1,
  relay: 'udp',
  relayProblems: [],
  ownSymmetric: false,
  peerSymmetric: false,
  peerCandidates: 3,
  peerReflexive: true,
  peerRelay: true,
};

test('a direct path needs no excuse', () => {
  assert.equal(pathNote('direct-host', good), null);
  assert.equal(pathNote('direct-reflexive', { ...good, ownSymmetric: true }), null);
});

test('a relayed path names what was measured and a remedy', () => {
  const cases: ReadonlyArray<readonly [Partial<Diagnosis>, RegExp]> = [
    [{ stunServers: 0, stunAnswers: 0 }, /no STUN server is known: name one in LinkManager\.Stun/],
    [{ stunAnswers: 0 }, /no STUN server answered: check/],
    [{ stunAnswers: 0, relay: 'tls' }, /UDP does not get through.*over TLS: allow outgoing UDP/],
    [{ ownSymmetric: true }, /NAT of this site maps per destination \(symmetric\): set it/],
    [{ peerSymmetric: true }, /the peer's NAT maps per destination \(symmetric\): there/],
    [{ peerReflexive: false }, /the peer got no answer from a STUN server/],
    [{}, /a firewall or NAT lets no packet/],
  ];
  for (const [change, expected] of cases) {
    assert.match(pathNote('turn', { ...good, ...change }) ?? '', expected);
  }
});

test('a peer out of reach: why no direct path, and why no relay', () => {
  const none = { ...good, relay: null, peerRelay: false } as const;
  assert.equal(unreachableNote({ ...none, peerCandidates: 0 }), null);
  assert.match(
    unreachableNote({ ...none, relayServers: 0 }) ?? '',
    /; no relay configured .*no TURN server.*: name/,
  );
  const refused = 'TURN server x:5349 over tls: self-signed certificate';
  assert.match(
    unreachableNote({ ...none, relayProblems: [refused] }) ?? '',
    /; TURN server x:5349/,
  );
  assert.doesNotMatch(unreachableNote(good) ?? '', /;/);
});

test('relays are tried by what they cost; a server for UDP is asked over TCP at last', () => {
  const server = (host: string, transport: 'udp' | 'tcp' | 'tls') => ({
    host,
    port: 3_478,
    transport,
    user: 'u',
    password: 'p',
  });
  const order = relayOrder([server('a', 'tls'), server('b', 'udp'), server('c', 'tcp')]);
  assert.deepEqual(
    order.map(({ host, transport }) => `${host} ${transport}`),
    ['b udp', 'c tcp', 'a tls', 'b tcp'],
  );
  assert.equal(relayOrder([server('b', 'udp'), server('b', 'tcp')]).length, 2);
});

test('default routes are read from the tables of the kernel, others are left out', () => {
  const table = `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
`;
  assert.deepEqual(defaultRoutes4(table), ['eth0 0101A8C0 100']);
  const zero = '0'.repeat(32);
  const gateway = '20010db8000100000000000000000001';
  const line = (destination: string, length: string, flags: string): string =>
    `${destination} ${length} ${zero} 00 ${gateway} 00000400 00000001 00000000 ${flags}     eth0`;
  const table6 = [
    line(zero, '00', '00000003'),
    line(zero, '00', '00200200'),
    line(gateway, '80', '00000001'),
  ];
  assert.deepEqual(defaultRoutes6(table6.join('\n')), [`eth0 ${gateway} 00000400`]);
  assert.deepEqual([...defaultRoutes4(''), ...defaultRoutes6('x y')], []);
});
