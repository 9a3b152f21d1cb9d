/**
 * The ring for people: links with their reasons, next hops, pings and traces. Owns the words.
 */
import type { LinkStatus, LinksReply, PingReply, RoutesReply } from '../../local-api/schema.ts';
import { formatPath } from './peers.ts';
import { type Cell, type Colour, type Column, formatTable, paint, type Screen } from './table.ts';
import { formatDuration, formatRtt } from './units.ts';

type Link = LinksReply['overlays'][number];
type Routes = RoutesReply['overlays'][number];

const linkColumns: readonly Column[] = [
  { title: 'NAME', cutTo: 12 },
  { title: 'ID', leaveOut: 1 },
  { title: 'REASON' },
  { title: 'STATE' },
  { title: 'SINCE', align: 'right' },
  { title: 'PATH', cutTo: 20 },
];

export function formatLinks(screen: Screen, reply: LinksReply): readonly string[] {
  return sections(screen, reply.overlays, ({ links }: Link) => {
    if (links.length === 0) return ['no links: no other member is there, or none is wanted yet'];
    const names = new Map<string, string>(links.map(({ nodeId, name }) => [nodeId, name]));
    const rows = [...links]
      .sort(byReason)
      .map((link): readonly Cell[] => [
        { text: link.name },
        { text: link.nodeId.slice(0, 8) },
        { text: reasonOf(link) },
        { text: link.state, colour: colours[link.state] },
        { text: formatDuration(link.sinceMs) },
        { text: formatPath(link.path, (id) => names.get(id)) },
      ]);
    return formatTable(screen, linkColumns, rows);
  });
}

const colours: Readonly<Record<LinkStatus['state'], Colour>> = {
  up: 'good',
  asking: 'busy',
  'setting-up': 'busy',
  down: 'bad',
};

/** `successor`, `incoming long-distance`, or both with a comma. */
const reasonOf = ({ reason, incoming }: LinkStatus): string =>
  [
    ...(reason === null ? [] : [reason]),
    ...(incoming === null ? [] : [`incoming ${incoming}`]),
  ].join(', ');

const ranks = ['static', 'successor', 'on-demand', 'long-distance', null] as const;

/** Own links first, by precedence; then by name. */
const byReason = (a: LinkStatus, b: LinkStatus): number =>
  ranks.indexOf(a.reason) - ranks.indexOf(b.reason) || compare(a.name, b.name);
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

const routeColumns: readonly Column[] = [
  { title: 'NAME', cutTo: 12 },
  { title: 'ID', leaveOut: 1 },
  { title: 'NEXT HOP', cutTo: 12 },
  { title: 'HOW' },
];

export function formatRoutes(screen: Screen, reply: RoutesReply): readonly string[] {
  return sections(screen, reply.overlays, ({ routes }: Routes) => {
    if (routes === null) return ['the tunnel process does not serve: see `evio status`'];
    if (routes.length === 0) return ['no other member is known'];
    const rows = [...routes]
      .sort((a, b) => compare(a.name, b.name) || compare(a.nodeId, b.nodeId))
      .map((route): readonly Cell[] => [
        { text: route.name },
        { text: route.nodeId.slice(0, 8) },
        { text: route.via === null ? '-' : nodeText(route.via, route.viaName) },
        { text: hows[route.how], ...(route.how === 'none' ? { colour: 'bad' } : {}) },
      ]);
    return formatTable(screen, routeColumns, rows);
  });
}

const hows = {
  link: 'link',
  greedy: 'nearest on the ring',
  'look-ahead': 'neighbour of a neighbour',
  searched: 'found by a search',
  none: 'no way known',
} as const;

/** Its name, or the start of its id. */
const nodeText = (id: string, name: string): string => (name === '' ? id.slice(0, 8) : name);

/** One line of `evio ping`. */
export function formatPing(number: number, reply: PingReply): string {
  if (reply.rttMs === null) return `${number}: no answer`;
  const hops = reply.hops.map(({ nodeId, name }) => nodeText(nodeId, name));
  const last = hops.at(-1) ?? '';
  const names = new Map<string, string>(reply.hops.map(({ nodeId, name }) => [nodeId, name]));
  const path = formatPath(reply.path, (id) => names.get(id));
  const through = hops.length > 1 ? `, through ${hops.slice(0, -1).join(', ')}` : '';
  return `${number}: ${last} in ${formatRtt(reply.rttMs)}, ${path}${through}`;
}

/** The last line of `evio ping`. */
export function formatPingSummary(replies: readonly PingReply[]): string {
  const times = replies.flatMap(({ rttMs }) => rttMs ?? []);
  const counts = `${replies.length} sent, ${times.length} answered`;
  if (times.length === 0) return counts;
  const mean = times.reduce((sum, ms) => sum + ms, 0) / times.length;
  const [least, most] = [Math.min(...times), Math.max(...times)];
  return `${counts}; least ${formatRtt(least)}, mean ${formatRtt(mean)}, most ${formatRtt(most)}`;
}

export interface TracedHop {
  readonly nodeId: string;
  readonly name: string;
  /** From this node to that one and back; null: it did not answer itself. */
  readonly rttMs: number | null;
}

const hopColumns: readonly Column[] = [
  { title: 'HOP', align: 'right' },
  { title: 'NAME', cutTo: 12 },
  { title: 'ID', leaveOut: 1 },
  { title: 'RTT', align: 'right' },
];

export const formatTrace = (screen: Screen, hops: readonly TracedHop[]): readonly string[] =>
  formatTable(
    screen,
    hopColumns,
    hops.map(({ nodeId, name, rttMs }, index): readonly Cell[] => [
      { text: String(index + 1) },
      { text: name },
      { text: nodeId.slice(0, 8) },
      { text: formatRtt(rttMs) },
    ]),
  );

/** Under the names of the overlays when there are several. */
function sections<T extends { readonly overlay: string }>(
  screen: Screen,
  overlays: readonly T[],
  format: (overlay: T) => readonly string[],
): readonly string[] {
  if (overlays.length === 1) return overlays.flatMap(format);
  return overlays.flatMap((overlay, index) => [
    ...(index > 0 ? [''] : []),
    paint(screen, 'bold', `overlay ${overlay.overlay}`),
    ...format(overlay),
  ]);
}
