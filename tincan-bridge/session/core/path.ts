/**
 * What a selected path is called and what fits through it. Owns the arithmetic of headers.
 */
import {
  channelDataHeaderBytes,
  envelopeBytes,
  recordOverhead,
  type Suite,
} from '../../datapath/wire.ts';

/** How ICE reached the peer. */
export interface PathFacts {
  /** Of the pair that ICE nominated; `prflx` when the peer was seen before its candidate was. */
  readonly local: 'host' | 'relay';
  readonly remote: 'host' | 'srflx' | 'prflx' | 'relay';
  /** The peer's address is of a private range. */
  readonly remotePrivate: boolean;
  /** The peer sees us under another address than our own. */
  readonly translated: boolean;
  readonly family: 4 | 6;
}

export type DirectKind = 'direct-host' | 'direct-reflexive' | 'turn';

export function pathKind(facts: PathFacts): DirectKind {
  if (facts.local === 'relay' || facts.remote === 'relay') return 'turn';
  if (facts.translated || facts.remote === 'srflx') return 'direct-reflexive';
  // Unknown yet: inside one private network a packet may overtake the candidate that it came from.
  if (facts.remote === 'prflx' && !facts.remotePrivate) return 'direct-reflexive';
  return 'direct-host';
}

/** UDP payload of a packet of 1500 bytes. */
const udpPayloadBytes = { 4: 1_472, 6: 1_452 } as const;
const typeBytes = 1;
/** What a ring path costs beside the hop's own record: type byte and envelope, and the inner record. */
const ringBytes = (suite: Suite): number => typeBytes + envelopeBytes + recordOverhead[suite];
export const ethernetHeaderBytes = 14;

/**
 * Largest Ethernet frame that one record on the path carries. A relayed path pays for ChannelData on
 * either leg, so it is counted even when the relay is the peer's.
 */
export function maxFrameBytes(kind: DirectKind, family: 4 | 6, suite: Suite): number {
  const relay = kind === 'turn' ? channelDataHeaderBytes : 0;
  return udpPayloadBytes[family] - relay - recordOverhead[suite] - typeBytes;
}

/** Frames of a direct path over IPv4, the usual hop. */
const usualFrameBytes = 1_434;

/**
 * The same for a ring path. `hopFrameBytes`: of the session with the next hop; the hops behind it are
 * taken for usual ones, and probes find out when they are not.
 */
export const ringFrameBytes = (hopFrameBytes: number, suite: Suite): number =>
  Math.min(hopFrameBytes, usualFrameBytes) - ringBytes(suite);
