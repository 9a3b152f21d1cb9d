/**
 * Candidates as they cross between nodes: parsing and refusing a peer's, writing ours. Owns the rules
 * of what a peer may make us send packets to; opens nothing.
 */
import { createHash } from 'node:crypto';
import { type BlockList, isIP, SocketAddress } from 'node:net';
import type { Endpoint } from '../datapath/datapath.ts';
import { addressKind } from './addresses.ts';

export type CandidateType = 'host' | 'srflx' | 'relay';

export interface ParsedCandidate extends Endpoint {
  readonly foundation: string;
  readonly priority: number;
  readonly type: CandidateType;
}

/** What refuses a peer's candidate beyond its syntax. */
export interface CandidatePolicy {
  /** Loopback addresses are good: tests only. */
  readonly loopback: boolean;
  /** Subnets of our own overlays. */
  readonly overlays: BlockList;
}

const syntax =
  /^([A-Za-z0-9+/]{1,32}) 1 (?:udp|UDP) (\d{1,10}) ([0-9A-Fa-f.:]{2,45}) (\d{1,5}) typ (host|srflx|relay)(?: |$)/;

const types: Readonly<Record<string, CandidateType>> = {
  host: 'host',
  srflx: 'srflx',
  relay: 'relay',
};

/**
 * A peer's candidate, or null when it is not one that we would send to: another transport or
 * component, a name (`.local`), a loopback, link-local, multicast or own-overlay address.
 */
export function parseCandidate(text: string, policy: CandidatePolicy): ParsedCandidate | null {
  const found = syntax.exec(text);
  if (found === null) return null;
  const [, foundation = '', priorityText = '', address = '', portText = '', typeText = ''] = found;
  const priority = Number(priorityText);
  const port = Number(portText);
  const type = types[typeText];
  if (type === undefined || port < 1 || port > 65_535 || priority > 0x7fff_ffff) return null;
  const kind = addressKind(address);
  const good = kind === 'global' || kind === 'private' || (policy.loopback && kind === 'loopback');
  if (!good) return null;
  if (policy.overlays.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6')) return null;
  return { foundation, priority, address: canonical(address), port, type };
}

/** A server-reflexive candidate of ours (RFC 8839 section 5.1); priority by RFC 8445 section 5.1.2. */
export function formatReflexive(mapped: Endpoint, base: Endpoint, server: string): string {
  const seed = `srflx|${base.address}|${server}`;
  const foundation = createHash('sha256').update(seed).digest('hex').slice(0, 16);
  const priority = 100 * 2 ** 24 + 8_191 * 2 ** 8 + 255;
  const related = `raddr ${base.address} rport ${base.port}`;
  return `${foundation} 1 udp ${priority} ${mapped.address} ${mapped.port} typ srflx ${related}`;
}

/** One spelling for each address: ICE and we compare them as text. */
const canonical = (address: string): string =>
  isIP(address) === 6 ? new SocketAddress({ address, family: 'ipv6' }).address : address;
