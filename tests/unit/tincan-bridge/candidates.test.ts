/**
 * Which addresses take part in ICE: a peer's candidates by kind, our interfaces by name.
 */
import { strict as assert } from 'node:assert';
import { BlockList } from 'node:net';
import { addressKind, matchesInterface } from '../../../tincan-bridge/ice/addresses.ts';
import { formatReflexive, parseCandidate } from '../../../tincan-bridge/ice/candidates.ts';
import { Candidate } from '../../../tincan-bridge/protocol/description.ts';
import { suite } from '../../support/harness.ts';

const test = suite('candidates');
const overlays = new BlockList();
overlays.addSubnet('10.77.0.0', 24, 'ipv4');
const policy = { loopback: false, overlays };
const line = (address: string, type = 'host', port = 5_000): string =>
  `abc 1 udp 2113937151 ${address} ${port} typ ${type} generation 0 ufrag x`;

test('good candidates are read, and IPv6 gets one spelling', () => {
  assert.deepEqual(parseCandidate(line('192.168.1.2'), policy), {
    foundation: 'abc',
    priority: 2_113_937_151,
    address: '192.168.1.2',
    port: 5_000,
    type: 'host',
  });
  assert.equal(parseCandidate(line('2001:DB8:0:0::1', 'relay'), policy)?.address, '2001:db8::1');
});

test('a peer cannot make us send where it must not', () => {
  const bad = [
    '127.0.0.1',
    '127.9.9.9',
    '0.0.0.0',
    '224.0.0.251',
    '255.255.255.255',
    '169.254.1.1',
    '::1',
    '::',
    'ff02::1',
    'fe80::1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '10.77.0.9',
    'host.local',
  ];
  for (const address of bad) assert.equal(parseCandidate(line(address), policy), null, address);
});

test('other transports, components, types, ports and priorities are refused', () => {
  for (const text of [
    'abc 2 udp 1 192.0.2.1 5000 typ host',
    'abc 1 tcp 1 192.0.2.1 5000 typ host tcptype active',
    line('192.0.2.1', 'prflx'),
    line('192.0.2.1', 'host', 0),
    line('192.0.2.1', 'host', 65_536),
    'abc 1 udp 4294967295 192.0.2.1 5000 typ host',
    'abc 1 udp 1 1.2.3.4.5 5000 typ host',
    '',
  ]) {
    assert.equal(parseCandidate(text, policy), null, text);
  }
});

test("a reflexive candidate of ours passes the schema and the peer's reading", () => {
  const mapped = { address: '198.51.100.7', port: 40_000 };
  const text = formatReflexive(mapped, { address: '10.0.0.2', port: 5_000 }, '192.0.2.9');
  assert.ok(Candidate.safeParse(text).success, text);
  const { address, port, type } = parseCandidate(text, policy) ?? {};
  assert.deepEqual({ address, port, type }, { ...mapped, type: 'srflx' });
});

test('addresses have a kind', () => {
  const kinds = ['8.8.8.8', '100.64.3.4', 'fd00::1', '2001:db8::1', '127.0.0.1', 'nonsense'];
  assert.deepEqual(kinds.map(addressKind), [
    'global',
    'private',
    'private',
    'global',
    'loopback',
    null,
  ]);
});

test('a trailing star matches any rest of an interface name', () => {
  assert.deepEqual(
    [
      ['docker0', 'docker*'],
      ['docker0', 'docker'],
      ['eth0', 'eth0'],
      ['veth1', 'eth*'],
    ].map(([name = '', pattern = '']) => matchesInterface(name, pattern)),
    [true, false, true, false],
  );
});
