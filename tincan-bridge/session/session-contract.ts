/**
 * What one peer session needs, and what it tells. Owns the two interfaces; `tunnel.ts` stands on their
 * far side.
 */
import type { Clock } from '../../base/clock.ts';
import type { NodeId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Datapath, SessionNumber } from '../datapath/datapath.ts';
import type { Handshake, HandshakeOptions } from '../datapath/handshake.ts';
import type { DatagramRouter } from '../ice/router.ts';
import type { SessionDescription } from '../protocol/description.ts';
import type { IceServers } from '../protocol/schema.ts';
import type { PathSummary } from './associations.ts';
import type { RekeyRules } from './core/session-state.ts';
import type { PeerTrust } from './peer-certificate.ts';
import type { RingPort } from './ring-port.ts';

export interface SessionSettings {
  readonly servers: IceServers;
  readonly ignoredInterfaces: readonly string[];
}

export interface SessionDeps {
  readonly me: NodeId;
  readonly certificate: string;
  readonly key: string;
  readonly datapath: Datapath;
  readonly ring: RingPort;
  readonly router: DatagramRouter;
  readonly clock: Clock;
  readonly log: Logger;
  readonly createHandshake: (options: HandshakeOptions) => Handshake;
  /** This machine has no instructions for AES. */
  readonly preferChaCha: boolean;
  readonly settings: () => SessionSettings;
  /** The overlay's CA and what it has revoked, or null where peers are pinned. */
  readonly trust: () => PeerTrust | null;
  readonly nextNumber: () => SessionNumber;
  /** When keys are to be replaced. */
  readonly rekey: Omit<RekeyRules, 'begins'>;
  /** Loopback addresses are candidates: tests only. */
  readonly loopback: boolean;
  readonly keyLog: (line: string) => void;
}

export interface SessionEvents {
  readonly onDescription: (description: SessionDescription) => void;
  /** An association receives from now on. */
  readonly onInstalled: (number: SessionNumber) => void;
  /**
   * The association carries frames of at most so many bytes from now on. `settled`: the MTU of the
   * devices should follow; else the size is a passing one, of a search.
   */
  readonly onUsed: (number: SessionNumber, maxFrameBytes: number, settled: boolean) => void;
  readonly onRemoved: (number: SessionNumber) => void;
  readonly onUp: (path: PathSummary, setUpMs: number) => void;
  readonly onPathChanged: (path: PathSummary) => void;
  readonly onDown: (reason: string) => void;
  /** It has a path of its own that works, and that others' frames may use; or not any more. */
  readonly onLink: (up: boolean) => void;
  readonly onMessage: (body: string) => void;
  /** A released link has drained and nothing carries it on. */
  readonly onUnused: (reason: string) => void;
}
