/**
 * The whole node on one page: what works, what does not, and what to do about it. Owns the words.
 */
import { errorTable } from '../../../base/errors.ts';
import type {
  OverlayStatus,
  Problem,
  SignalStatus,
  Status,
  TrustStatus,
} from '../../local-api/schema.ts';
import { type Colour, paint, printable, type Screen } from './table.ts';
import { acceptCommand } from './trust.ts';
import { formatDuration } from './units.ts';

/** Refusals that are shown; the rest is counted. */
const maxRefused = 5;

/** `upMs`: for how long the controller has been up. */
export function formatStatus(screen: Screen, status: Status, upMs: number): readonly string[] {
  return [
    `${paint(screen, 'bold', printable(status.name))}  ${status.nodeId}`,
    `evio ${printable(status.version)}, up for ${formatDuration(upMs)}`,
    ...status.overlays.flatMap((overlay) => ['', ...formatOverlay(screen, overlay)]),
  ];
}

function formatOverlay(screen: Screen, overlay: OverlayStatus): readonly string[] {
  const { signal, bridgeProcess } = overlay;
  const line = (name: string, text: string): string => `  ${name.padEnd(12)}${text}`;
  const restarts = bridgeProcess.restarts === 0 ? '' : `, restarts: ${bridgeProcess.restarts}`;
  const pid = bridgeProcess.pid === null ? '' : `, process ${bridgeProcess.pid}`;
  const colour = bridgeProcess.state === 'up' ? 'good' : 'bad';
  return [
    paint(screen, 'bold', `overlay ${overlay.overlay}`),
    line('signalling', formatSignal(screen, signal)),
    line('', printable(`${signal.account} at ${signal.server}`)),
    ...formatProblem(screen, signal.problem),
    line('device', formatDevice(screen, overlay)),
    ...formatProblem(screen, overlay.deviceProblem),
    line('tunnels', `${paint(screen, colour, bridgeProcess.state)}${pid}${restarts}`),
    ...formatProblem(screen, bridgeProcess.problem),
    line('STUN', printable(overlay.iceServers.stun.join(', ')) || 'none'),
    line('TURN', printable(overlay.iceServers.turn.join(', ')) || 'none'),
    ...(overlay.iceServers.note === null ? [] : [line('', printable(overlay.iceServers.note))]),
    line('peers', summarizePeers(overlay)),
    line('trust', formatTrust(overlay.trust)),
    ...formatProblem(screen, overlay.trust.problem),
    ...formatRefused(screen, overlay),
  ];
}

function formatSignal(screen: Screen, signal: SignalStatus): string {
  const colours: Readonly<Record<SignalStatus['state'], Colour>> = {
    online: 'good',
    connecting: 'busy',
    offline: 'bad',
    refused: 'bad',
    stopped: 'dim',
  };
  const state = paint(screen, colours[signal.state], signal.state);
  const retry =
    signal.retryInMs === null ? '' : `, next try in ${formatDuration(signal.retryInMs)}`;
  return `${state} for ${formatDuration(signal.sinceMs)}${retry}`;
}

function formatDevice(screen: Screen, { device }: OverlayStatus): string {
  if (device === null) return paint(screen, 'bad', 'missing');
  const kinds = { lxbr: 'Linux bridge', ovs: 'Open vSwitch', vnic: '' } as const;
  const app = device.appBridge === null ? '' : `${device.appBridge} on `;
  const name =
    device.bridge === null
      ? device.tap
      : `${app}${device.bridge} (${kinds[device.provider]}, TAP ${device.tap})`;
  const addresses = device.addresses.length === 0 ? 'no address' : device.addresses.join(' ');
  return printable(`${name}, ${addresses}, MTU ${device.mtu}, ${device.mac}`);
}

/** The problem and its remedy, indented below the line that it belongs to. */
function formatProblem(screen: Screen, problem: Problem | null): readonly string[] {
  if (problem === null) return [];
  const remedy = Object.entries(errorTable).find(([code]) => code === problem.code)?.[1].remedy;
  const text = `${problem.message} [${problem.code}]`;
  return [
    `              ${paint(screen, 'bad', printable(text))}`,
    ...(remedy === undefined ? [] : [`              to do: ${remedy}`]),
  ];
}

/** `3 of 9 online: 1 direct, 2 ring; 6 idle, reached over the ring when needed`. */
function summarizePeers({ peers }: OverlayStatus): string {
  const online = peers.filter(({ state }) => state === 'online');
  if (peers.length === 0) return 'none seen';
  const kinds = online.map(({ path }) => path.kind.replace(/-.*/, ''));
  const counts = [...new Set(kinds)]
    .sort()
    .map((kind) => `${kinds.filter((other) => other === kind).length} ${kind}`);
  const paths = counts.length === 0 ? '' : `: ${counts.join(', ')}`;
  const idle = peers.filter(({ state }) => state === 'idle').length;
  const rest = idle === 0 ? '' : `; ${idle} idle, reached over the ring when needed`;
  return `${online.length} of ${peers.length} online${paths}${rest}`;
}

function formatTrust({ policy, crlNumber, revoked, certificateNotAfter }: TrustStatus): string {
  if (policy === 'roster') return 'roster, keys pinned when first seen';
  const list = crlNumber === null ? 'no revocation list' : `list ${crlNumber} revokes ${revoked}`;
  return `CA, ${list}, own certificate until ${certificateNotAfter?.slice(0, 10) ?? 'unknown'}`;
}

function formatRefused(screen: Screen, overlay: OverlayStatus): readonly string[] {
  const { refused } = overlay.signal;
  const more = refused.length - maxRefused;
  return [
    ...refused
      .slice(0, maxRefused)
      .flatMap(({ account, name, problem, change }) => [
        printable(`  refused     ${name} (${account})`),
        ...formatProblem(screen, problem),
        ...(change === null
          ? []
          : [
              `              was it meant? ${printable(acceptCommand(overlay.overlay, account, name, change))}`,
            ]),
      ]),
    ...(more > 0 ? [`  refused     ${more} more`] : []),
  ];
}
