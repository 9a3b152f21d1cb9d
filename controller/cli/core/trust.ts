/**
 * Pinned keys as a table, and the command that accepts a changed one. Owns the words.
 */
import type { TrustReply } from '../../local-api/schema.ts';
import { type Column, formatTable, type Screen } from './table.ts';

const columns: readonly Column[] = [
  { title: 'OVERLAY' },
  { title: 'ACCOUNT', cutTo: 12 },
  { title: 'NAME', cutTo: 8 },
  { title: 'KEY' },
  { title: 'FIRST SEEN', leaveOut: 1 },
];

export function formatPins(screen: Screen, { overlays }: TrustReply): readonly string[] {
  const rows = overlays.flatMap(({ overlay, pins }) =>
    pins.map(({ account, name, node, firstSeen }) =>
      [overlay, account, name, node, firstSeen].map((text) => ({ text })),
    ),
  );
  const byCa = overlays
    .filter(({ policy }) => policy === 'ca')
    .map(({ overlay }) => `overlay ${overlay}: policy "ca", nothing is pinned`);
  const table = rows.length === 0 ? [] : formatTable(screen, columns, rows);
  const lines = [...table, ...byCa];
  return lines.length === 0 ? ['no key is pinned yet'] : lines;
}

/** What an operator runs when the change was meant; quoted for a shell. */
export const acceptCommand = (
  overlay: string,
  account: string,
  name: string,
  { from, to }: { readonly from: string; readonly to: string },
): string =>
  `evio trust accept --overlay ${overlay} --account ${quoted(account)} --name ${quoted(name)} --from ${from} --to ${to}`;

/** Names come from other machines: in single quotes a shell reads nothing into them. */
const quoted = (text: string): string =>
  /^[A-Za-z0-9@._-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
