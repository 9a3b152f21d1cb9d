/**
 * What an operator may say about the topology of one overlay, and every number that is not the
 * operator's. Owns the defaults; the configuration file's schema repeats none of them.
 */
import type { NodeId } from '../../../base/ids.ts';
import type { OnDemandConfig } from './on-demand.ts';

export interface TopologyConfig {
  readonly minSuccessors: number;
  /** Null: from the number of members (`defaultLongDistance`). */
  readonly maxLongDistance: number | null;
  /** Incoming ones that are granted; null: twice the outgoing ones. */
  readonly incomingCap: number | null;
  readonly staticEdges: readonly NodeId[];
  /** Static edges only, whatever else would be wanted or is asked for. */
  readonly manual: boolean;
  /** A leaf carries nobody's traffic: it refuses requests, and has static edges or one uplink. */
  readonly role: 'switch' | 'leaf';
  readonly onDemand: OnDemandConfig;
  /** Links of its own that a node sets up at once. */
  readonly maxConcurrent: number;
}

export const defaultTopology: TopologyConfig = {
  minSuccessors: 2,
  maxLongDistance: null,
  incomingCap: null,
  staticEdges: [],
  manual: false,
  role: 'switch',
  onDemand: { max: 3, thresholdBytesPerSecond: 1_000_000, minAgeMs: 180_000 },
  maxConcurrent: 4,
};

/** Sightings within this time are told as one: a login brings everybody at once. */
export const seenBatchMs = 20;
/** After a first sighting: a login brings everybody at once, and one plan for all is enough. */
export const settleMs = 300;
/** Plans are made again without a reason: draws that found nobody, caps that were full. */
export const replanMs = 30_000;
/** An answer takes one round through the XMPP server. */
export const answerMs = 3_000;
/** Requests that are sent before no answer counts as a failure. */
export const maxAsks = 3;
/** From the grant to the first frame: ICE with TURN takes 5 s, a slow DTLS handshake as much. */
export const setUpMs = 20_000;
/** A link that was up may come back by itself (roaming), as the session retries. */
export const recoverMs = 15_000;
/** A successor that is not up for so long gets a stand-in, but stays wanted. */
export const ailingMs = 5_000;
/** Links that peers may be setting up to here at once; ring links are not counted. */
export const maxIncomingSetUps = 16;
/** All links, whoever wants them. */
export const maxLinks = 1_024;
/** After a refusal for a full cap: this long until the same peer is drawn again. */
export const cappedMs = 60_000;
