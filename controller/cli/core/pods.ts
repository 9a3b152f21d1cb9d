/**
 * How pods stand on this node, as text: what is installed, ranges, members, refusals. Owns the
 * words.
 */
import type { OverlayPods, PodsReply } from '../../local-api/schema.ts';
import { type Column, formatTable, paint, printable, type Screen } from './table.ts';

/** What is on the host, as `cni-plugin/install.ts` finds it. */
export interface InstalledFiles {
  readonly executable: { readonly file: string; readonly state: string };
  readonly list: { readonly file: string; readonly state: string };
}

const columns: readonly Column[] = [
  { title: 'NODE', cutTo: 8 },
  { title: 'PODS' },
  { title: 'VIA' },
  { title: 'STATE' },
];

/** `pods` null: no controller answers. */
export function formatPods(
  screen: Screen,
  { executable, list }: InstalledFiles,
  pods: PodsReply | null,
): readonly string[] {
  return [
    `executable     ${executable.file}: ${executable.state}`,
    `configuration  ${list.file}: ${list.state}`,
    ...(pods === null ? [paint(screen, 'bad', 'controller     not running')] : []),
    ...(pods?.overlays.length === 0
      ? ['no overlay of this node has a section in Cni.Overlays']
      : []),
    ...(pods?.overlays.flatMap((overlay) => ['', ...formatOverlay(screen, overlay)]) ?? []),
  ];
}

function formatOverlay(screen: Screen, pods: OverlayPods): readonly string[] {
  const state =
    pods.problem !== null
      ? paint(screen, 'bad', printable(pods.problem))
      : pods.isUp
        ? paint(screen, 'good', 'ready')
        : paint(screen, 'busy', 'tunnels are down');
  const rows = pods.members.map(({ name, range, via, isLive }) => [
    { text: printable(name) },
    { text: range },
    { text: via ?? '-' },
    isLive
      ? { text: via === null ? 'no route' : 'live' }
      : { text: 'silent', colour: 'busy' as const },
  ]);
  return [
    `overlay ${pods.overlay}  ${state}`,
    `  mode ${pods.mode}, ranges ${pods.ranges.join(', ') || 'unknown'} (${pods.source}), bridge ${pods.bridge}, mtu ${pods.mtu}, ${pods.attached} attached`,
    ...(rows.length === 0 ? [] : formatTable(screen, columns, rows).map((line) => `  ${line}`)),
    ...pods.refused.map(({ name, what, reason }) =>
      paint(
        screen,
        'bad',
        `  refused: ${printable(name)} announces ${printable(what)}: ${printable(reason)}`,
      ),
    ),
  ];
}
