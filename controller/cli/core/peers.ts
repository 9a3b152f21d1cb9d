/**
 * The peers of an overlay as a table, and one peer in full. Owns the words for paths and states.
 */
import { unreachable } from '../../../base/errors.ts';
import type { OverlayStatus, PeerStatus, Status } from '../../local-api/schema.ts';
import {
  type Cell,
  type Colour,
  type Column,
  formatTable,
  paint,
  printable,
  type Screen,
} from './table.ts';
import { formatBytes, formatDuration, formatRate, formatRtt } from './units.ts';

const columns: readonly Column[] = [
  { title: 'NAME', cutTo: 12 },
  { title: 'ID', leaveOut: 3 },
  { title: 'STATE' },
  { title: 'PATH', cutTo: 20 },
  { title: 'RTT', align: 'right' },
  { title: 'TX', align: 'right', leaveOut: 2 },
  { title: 'RX', align: 'right', leaveOut: 2 },
  { title: 'SENT', align: 'right', leaveOut: 1 },
  { title: 'RECEIVED', align: 'right', leaveOut: 1 },
  { title: 'LAST ERROR', cutTo: 16 },
];

/** One table for each overlay, under its name when there are several. */
export function formatPeers(screen: Screen, status: Status): readonly string[] {
  return status.overlays.flatMap((overlay, index) => {
    const heading =
      status.overlays.length > 1
        ? [...(index > 0 ? [''] : []), paint(screen, 'bold', `overlay ${overlay.overlay}`)]
        : [];
    return [...heading, ...peerTable(screen, overlay)];
  });
}

function peerTable(screen: Screen, overlay: OverlayStatus): readonly string[] {
  if (overlay.peers.length === 0) return [`no peers; signalling is ${overlay.signal.state}`];
  const names = new Map<string, string>(overlay.peers.map(({ nodeId, name }) => [nodeId, name]));
  const rows = [...overlay.peers]
    .sort((a, b) => compare(a.name, b.name) || compare(a.nodeId, b.nodeId))
    .map((peer): readonly Cell[] => [
      { text: peer.name },
      { text: peer.nodeId.slice(0, 8) },
      { text: stateOf(peer), colour: colourOf(peer) },
      { text: formatPath(peer.path, (id) => names.get(id)) },
      { text: formatRtt(peer.rttMs) },
      { text: formatRate(peer.sentBitsPerSecond) },
      { text: formatRate(peer.receivedBitsPerSecond) },
      { text: formatBytes(peer.sentBytes) },
      { text: formatBytes(peer.receivedBytes) },
      { text: peer.lastError ?? '' },
    ]);
  return formatTable(screen, columns, rows);
}

/** By code unit: the same order everywhere. */
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Peers whose name, or the start of whose id, it is. */
export const findPeers = (status: Status, wanted: string): readonly PeerStatus[] =>
  status.overlays.flatMap((overlay) => findPeersIn(overlay, wanted));

export const findPeersIn = ({ peers }: OverlayStatus, wanted: string): readonly PeerStatus[] =>
  peers.filter(
    ({ name, nodeId }) => name === wanted || (wanted.length >= 4 && nodeId.startsWith(wanted)),
  );

/** All that is known of one peer, its last transitions at the end. */
export function formatPeer(screen: Screen, peer: PeerStatus): readonly string[] {
  const { path } = peer;
  const fields: readonly (readonly [string, string])[] = [
    ['id', peer.nodeId],
    ['account', peer.account],
    ['signalling', peer.reachable ? 'reachable' : 'not reachable'],
    ['state', stateOf(peer)],
    ['up for', peer.upSinceMs === null ? '-' : formatDuration(peer.upSinceMs)],
    ['path', path.local === '' ? formatPath(path) : `${formatPath(path)} from ${path.local}`],
    ['why', peer.pathNote ?? '-'],
    ['mtu', peer.mtu === null ? '-' : String(peer.mtu)],
    ['cipher', peer.cipher ?? '-'],
    ['round trip', formatRtt(peer.rttMs)],
    ['sent', `${formatBytes(peer.sentBytes)}, now ${formatRate(peer.sentBitsPerSecond)}`],
    [
      'received',
      `${formatBytes(peer.receivedBytes)}, now ${formatRate(peer.receivedBitsPerSecond)}`,
    ],
    ['last error', peer.lastError ?? '-'],
  ];
  return [
    paint(screen, 'bold', printable(peer.name)),
    ...fields.map(([name, value]) => `  ${name.padEnd(12)}${printable(value)}`),
    ...(peer.history.length === 0 ? [] : ['  history']),
    ...peer.history.map(
      ({ agoMs, what }) => `    ${`${formatDuration(agoMs)} ago`.padEnd(18)}${printable(what)}`,
    ),
  ];
}

const stateOf = (peer: PeerStatus): string =>
  peer.reachable || peer.state === 'online' ? peer.state : `${peer.state}, away`;

function colourOf(peer: PeerStatus): Colour {
  switch (peer.state) {
    case 'online':
      return 'good';
    case 'idle':
      return 'dim';
    case 'waiting':
    case 'connecting':
      return 'busy';
    case 'retrying':
      return 'bad';
    default:
      return unreachable(peer.state);
  }
}

/** `direct host 192.0.2.7:4500`, `turn 198.51.100.1:3478`, `ring via barn`. */
export function formatPath(
  path: PeerStatus['path'],
  nameOf: (id: string) => string | undefined = () => undefined,
): string {
  if (path.kind === 'none') return '-';
  if (path.kind === 'ring' && path.remote !== '') {
    return `ring via ${nameOf(path.remote) || path.remote.slice(0, 8)}`;
  }
  const words = path.kind.replace('-', ' ');
  return path.remote === '' ? words : `${words} ${path.remote}`;
}
