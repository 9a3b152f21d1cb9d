/**
 * What a session wants of ICE and gets from it. Owns the interface between `session/` and the
 * adapter; no line of werift is visible through it.
 */
import type { Clock } from '../../base/clock.ts';
import type { Logger } from '../../base/log.ts';
import type { Datapath, Path } from '../datapath/datapath.ts';
import type { IceServers } from '../protocol/schema.ts';
import type { PathFacts } from '../session/core/path.ts';
import type { DatagramRouter } from './router.ts';

export interface IceDeps {
  readonly datapath: Datapath;
  readonly router: DatagramRouter;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface SelectedPath {
  readonly path: Path;
  readonly facts: PathFacts;
  readonly local: string;
  readonly remote: string;
}

export interface IceEvents {
  /** All candidates of ours so far. Called again when more are found; the last time `complete`. */
  readonly onCandidates: (candidates: readonly string[], complete: boolean) => void;
  /** ICE has validated and chosen a pair. */
  readonly onSelected: (selected: SelectedPath) => void;
  /** A DTLS datagram from a validated address. */
  readonly onRecord: (bytes: Uint8Array) => void;
  /** It cannot be used (any more). */
  readonly onFailed: (reason: string) => void;
}

export interface IceOptions {
  readonly controlling: boolean;
  readonly servers: IceServers;
  /** No relays: a relayed session that works seeks a better path. */
  readonly directOnly: boolean;
  readonly ignoredInterfaces: readonly string[];
  /** Loopback addresses are candidates too: tests only. */
  readonly loopback: boolean;
  readonly events: IceEvents;
}
