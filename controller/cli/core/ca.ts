/**
 * What a CA has signed, as a table. Owns the words.
 */
import { type Colour, type Column, formatTable, type Screen } from './table.ts';

/** The part of a CA's listing that is shown; what makes it is loaded by `evio ca` only. */
export interface Listing {
  readonly overlay: string;
  readonly caNotAfter: string;
  readonly crlNumber: number;
  readonly certificates: readonly {
    readonly serial: string;
    readonly node: string;
    readonly name: string;
    readonly notAfter: string;
    readonly revokedAt: string | null;
    readonly state: 'valid' | 'expired' | 'revoked';
  }[];
}

const columns: readonly Column[] = [
  { title: 'NAME', cutTo: 8 },
  { title: 'NODE' },
  { title: 'STATE' },
  { title: 'UNTIL' },
  { title: 'SERIAL', leaveOut: 1 },
];
const colours: Readonly<Record<Listing['certificates'][number]['state'], Colour>> = {
  valid: 'good',
  expired: 'dim',
  revoked: 'bad',
};

export function formatIssued(screen: Screen, listing: Listing): readonly string[] {
  const head = `CA of overlay ${listing.overlay}, until ${day(listing.caNotAfter)}, revocation list ${listing.crlNumber}`;
  if (listing.certificates.length === 0) return [head, 'nothing is signed yet'];
  const rows = listing.certificates.map(({ name, node, state, notAfter, revokedAt, serial }) => [
    { text: name },
    { text: node },
    { text: state, colour: colours[state] },
    { text: day(revokedAt ?? notAfter) },
    { text: serial },
  ]);
  return [head, '', ...formatTable(screen, columns, rows)];
}

const day = (iso: string): string => iso.slice(0, 10);
