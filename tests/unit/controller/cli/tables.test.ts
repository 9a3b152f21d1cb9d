/**
 * What an operator sees: whole outputs for one node with some trouble.
 */
import assert from 'node:assert/strict';
import { findPeers, formatPeer, formatPeers } from '../../../../controller/cli/core/peers.ts';
import {
  formatLinks,
  formatPing,
  formatPingSummary,
  formatRoutes,
  formatTrace,
} from '../../../../controller/cli/core/ring.ts';
import { formatStatus } from '../../../../controller/cli/core/status.ts';
import { formatTable, type Screen } from '../../../../controller/cli/core/table.ts';
import {
  formatBytes,
  formatDuration,
  formatRate,
  formatRtt,
} from '../../../../controller/cli/core/units.ts';
import { formatWatchLine } from '../../../../controller/cli/core/watch.ts';
import { suite } from '../../../support/harness.ts';
import { sampleRing, sampleStatus } from '../../../support/sample-status.ts';

const test = suite('cli tables');

const wide: Screen = { width: Number.POSITIVE_INFINITY, colours: false };

test('the status shows what is wrong and what to do', () => {
  assert.deepEqual(formatStatus(wide, sampleStatus, 7_260_000), [
    'field-3  00112233445566778899aabbccddeeff',
    'evio 0.1.0, up for 2 h 1 min',
    '',
    'overlay farm',
    '  signalling  refused for 1 min 1 s, next try in 2 min 0 s',
    '              field-3@farm.example at xmpp.farm.example:5222',
    '              not-authorized [signal.auth-failed]',
    '              to do: correct Username or the password; the next try is minutes away, or at restart',
    '  device      evbr-farm (Linux bridge, TAP ev-farm), 10.77.0.12/16, MTU 1420, 02:00:5e:10:00:01',
    '  tunnels     up, process 4242',
    '  STUN        stun.farm.example:3478',
    '  TURN        none',
    '              no TURN server: peers behind symmetric NATs may stay unreachable',
    '  peers       1 of 2 online: 1 direct',
    '  trust       roster, keys pinned when first seen',
    '  refused     barn-gw (eve@farm.example)',
    '              its key is not the pinned one [peer.untrusted]',
    '              to do: see the reason; a key that was changed on purpose needs `evio trust accept`',
    '              was it meant? evio trust accept --overlay farm --account eve@farm.example --name barn-gw --from 0123456789abcdef0123456789abcdef --to 00000000000000000000000000000bad',
  ]);
});

test('peers are a table, sorted by name, with nothing of theirs that steers a terminal', () => {
  assert.deepEqual(formatPeers(wide, sampleStatus), [
    'NAME        ID        STATE           PATH                               RTT           TX       RX     SENT  RECEIVED  LAST ERROR',
    'attic?[31m  fedcba98  retrying, away  -                                    -      0 bit/s  0 bit/s      0 B       0 B  no candidate pair answered within 15000 ms',
    'barn-gw     01234567  online          direct reflexive 192.0.2.7:4500  12 ms  4.20 Mbit/s  0 bit/s  1.23 MB     999 B',
  ]);
});

test('a narrow screen cuts long texts first, then leaves columns out', () => {
  const at = (width: number): readonly string[] =>
    formatPeers({ width, colours: false }, sampleStatus);
  assert.match(at(140)[1] ?? '', / {2}no candidate pair an…$/);
  assert.match(at(140)[0] ?? '', /SENT {2}RECEIVED/);
  assert.deepEqual(at(80), [
    'NAME        STATE           PATH                           RTT  LAST ERROR',
    'attic?[31m  retrying, away  -                                -  no candidate pa…',
    'barn-gw     online          direct reflexive 192.0.2.7…  12 ms',
  ]);
  for (const width of [80, 90, 100, 120, 130, 140, 200]) {
    assert.ok(
      at(width).every((line) => line.length <= width),
      `${width}`,
    );
  }
  assert.match(at(20)[2] ?? '', /online/, 'what may not go stays');
});

test('colours take no width', () => {
  const plain = formatPeers(wide, sampleStatus);
  const coloured = formatPeers({ ...wide, colours: true }, sampleStatus);
  assert.ok(coloured[2]?.includes('\u001b[32monline\u001b[0m'));
  const bare = coloured.map((line) => line.replaceAll(/\p{Cc}\[\d+m/gu, '').trimEnd());
  assert.deepEqual(bare, plain);
});

test('an overlay without peers says how signalling stands', () => {
  const overlays = sampleStatus.overlays.map((overlay) => ({ ...overlay, peers: [] }));
  assert.deepEqual(formatPeers(wide, { ...sampleStatus, overlays }), [
    'no peers; signalling is refused',
  ]);
});

test('one peer is found by name or start of id, and shown with its history', () => {
  assert.equal(findPeers(sampleStatus, 'barn-gw').length, 1);
  assert.equal(findPeers(sampleStatus, 'fedc').length, 1);
  assert.equal(findPeers(sampleStatus, 'f').length, 0);
  const [peer] = findPeers(sampleStatus, '01234567');
  assert.ok(peer);
  assert.deepEqual(formatPeer(wide, peer), [
    'barn-gw',
    '  id          0123456789abcdef0123456789abcdef',
    '  account     barn-gw@farm.example',
    '  signalling  reachable',
    '  state       online',
    '  up for      1 h 1 min',
    '  path        direct reflexive 192.0.2.7:4500 from 10.0.0.2:4500',
    '  why         -',
    '  mtu         1420',
    '  cipher      ECDHE-ECDSA-AES128-GCM-SHA256',
    '  round trip  12 ms',
    '  sent        1.23 MB, now 4.20 Mbit/s',
    '  received    999 B, now 0 bit/s',
    '  last error  -',
    '  history',
    '    1 h 1 min ago     connecting: wanted',
    '    1 h 1 min ago     online: direct-reflexive',
  ]);
});

test('an event is one line', () => {
  const event = { overlay: 'farm', problem: null, text: 'two words\n' };
  const at = '2026-01-01T12:00:00.000Z';
  assert.equal(
    formatWatchLine(wide, { kind: 'event', at, name: 'signal.stateChanged', event }),
    '12:00:00.000 signal.stateChanged overlay=farm problem=null text="two words\\n"',
  );
  assert.match(formatWatchLine(wide, { kind: 'dropped', count: 3 }), /^3 events left out/);
});

test('right-aligned cells end together', () => {
  const rows = [
    [{ text: 'a' }, { text: '1' }],
    [{ text: 'b' }, { text: '100' }],
  ];
  assert.deepEqual(formatTable(wide, [{ title: 'N' }, { title: 'V', align: 'right' }], rows), [
    'N    V',
    'a    1',
    'b  100',
  ]);
});

test('numbers have three digits and a unit', () => {
  const bytes: readonly (readonly [number, string])[] = [
    [0, '0 B'],
    [999, '999 B'],
    [1_000, '1.00 kB'],
    [9_994, '9.99 kB'],
    [9_996, '10.0 kB'],
    [99_960, '100 kB'],
    [999_600, '1.00 MB'],
    [123_456_789_012, '123 GB'],
  ];
  for (const [value, text] of bytes) assert.equal(formatBytes(value), text);
  assert.equal(formatRate(1_500_000_000), '1.50 Gbit/s');
  assert.deepEqual([formatRtt(null), formatRtt(0.234), formatRtt(42.4)], ['-', '0.23 ms', '42 ms']);
  const durations = [0, 59_999, 60_000, 3_600_000, 90_000_000];
  assert.deepEqual(durations.map(formatDuration), [
    '0 s',
    '59 s',
    '1 min 0 s',
    '1 h 0 min',
    '1 d 1 h',
  ]);
});

test('links say why they are there, own ones first', () => {
  assert.deepEqual(formatLinks(wide, sampleRing.samples.links), [
    'NAME     ID        REASON                         STATE       SINCE  PATH',
    'barn-gw  01234567  successor, incoming successor  up      1 min 1 s  direct reflexive 192.0.2.7:4500',
    'silo     aaaaaaaa  long-distance                  asking        0 s  ring via barn-gw',
    '         fedcba98  incoming on-demand             down          5 s  -',
  ]);
});

test('routes name the next hop and how it was found', () => {
  assert.deepEqual(formatRoutes(wide, sampleRing.samples.routes), [
    'NAME     ID        NEXT HOP  HOW',
    '         fedcba98  -         no way known',
    'barn-gw  01234567  barn-gw   link',
    'silo     aaaaaaaa  barn-gw   neighbour of a neighbour',
  ]);
  const [overlay] = sampleRing.samples.routes.overlays;
  assert.ok(overlay);
  assert.deepEqual(formatRoutes(wide, { overlays: [{ ...overlay, routes: null }] }), [
    'the tunnel process does not serve: see `evio status`',
  ]);
});

test('a ping names path and hops; its summary counts what was lost', () => {
  const { ping } = sampleRing.samples;
  const lost = { ...ping, rttMs: null, hops: [] };
  assert.equal(formatPing(1, ping), '1: silo in 22 ms, ring via barn-gw, through barn-gw');
  assert.equal(formatPing(2, lost), '2: no answer');
  assert.equal(
    formatPingSummary([ping, lost, { ...ping, rttMs: 10.5 }]),
    '3 sent, 2 answered; least 11 ms, mean 16 ms, most 22 ms',
  );
  assert.equal(formatPingSummary([lost]), '1 sent, 0 answered');
});

test('a trace numbers the hops', () => {
  const hops = sampleRing.samples.ping.hops.map((hop, n) => ({
    ...hop,
    rttMs: n === 0 ? 4 : null,
  }));
  assert.deepEqual(formatTrace(wide, hops), [
    'HOP  NAME     ID            RTT',
    '  1  barn-gw  01234567  4.00 ms',
    '  2  silo     aaaaaaaa        -',
  ]);
});

test('the status of a ring counts who is reached through others and who is idle', () => {
  const [overlay] = sampleStatus.overlays;
  const [first] = overlay?.peers ?? [];
  assert.ok(overlay && first);
  const ring = { kind: 'ring', local: '', remote: first.nodeId } as const;
  const peers = [
    first,
    { ...first, name: 'silo', path: ring },
    { ...first, state: 'idle' as const, path: { kind: 'none' as const, local: '', remote: '' } },
  ];
  const lines = formatStatus(wide, { ...sampleStatus, overlays: [{ ...overlay, peers }] }, 0);
  assert.ok(
    lines.includes(
      '  peers       2 of 3 online: 1 direct, 1 ring; 1 idle, reached over the ring when needed',
    ),
  );
  const table = formatPeers(wide, { ...sampleStatus, overlays: [{ ...overlay, peers }] });
  assert.match(table.join('\n'), /silo .* ring via barn-gw/);
});
