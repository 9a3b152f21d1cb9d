/**
 * State, inputs and effects of the machine of one peer session. Owns the shapes and the diagram;
 * `session.ts` holds the transitions.
 *
 * What is being built (`setup`), and beside it what is in use (`link`):
 *
 *            begin              paired              validated          keys
 *   none ────────► offered ────────────► connecting ────────► securing ─────► none (link up)
 *    ▲               │ deadline             │ deadline, ICE failed │ refused, failed
 *    │               ▼                      ▼                      ▼
 *    └──────────── pause ◄──────────────────┴──────────────────────┘
 *    link up and healthy: none; else after a jittered, growing delay: offered
 *
 *   link:  down ──keys──► up ──heard nothing──► up, suspect ──dead──► down
 *                          ▲                        │
 *                          └── heard, or replaced ──┘
 *
 * Make before break: while a link is up, new keys (of an attempt, or of a handshake inside the link,
 * `rekey`) wait as `standby`. They only receive until the peer has been heard under them, which proves
 * that it can open them; then they carry frames and the old ones retire:
 *
 *   rekey:    none ──due──► asked | running ──keys──► none
 *   standby:  null ──keys──► waiting ──heard──► null (link.number), old number: retiring ──► removed
 */
import type { NodeId, SessionNonce } from '../../../base/ids.ts';
import type { Step } from '../../../base/machine.ts';
import { type Heard, idle, type Negotiation } from './negotiation.ts';
import { rekeyBytes, rekeyMs } from './timers.ts';

export type Setup =
  | { readonly kind: 'none' }
  | { readonly kind: 'pause'; readonly untilMs: number; readonly deaf: boolean }
  | {
      readonly kind: 'offered' | 'connecting' | 'securing';
      readonly own: SessionNonce;
      readonly deadlineMs: number;
      readonly repeatMs: number;
      /** Beside a relayed link that works: only a direct path is of use. */
      readonly direct: boolean;
    };

export type Link =
  | { readonly kind: 'down' }
  | {
      readonly kind: 'up';
      readonly own: SessionNonce;
      readonly number: number;
      readonly sinceMs: number;
      /** Questions since something was heard, and when the last one was asked. */
      readonly unanswered: number;
      readonly askedMs: number;
      /** The path is taken for dead since then. */
      readonly suspectSinceMs: number | null;
      /** It leads through a relay, and so many attempts to find a better path have failed. */
      readonly relayed: boolean;
      readonly sought: number;
    };

/** Keys that are installed and wait until the peer has been heard under them. */
export interface Standby {
  /** Attempt whose sockets they use. */
  readonly own: SessionNonce;
  readonly number: number;
  readonly by: 'attempt' | 'rekey';
  /** The path of the attempt leads through a relay. */
  readonly relayed: boolean;
  readonly deadlineMs: number;
}

/** A handshake inside the link. The DTLS client begins; the other side can only ask it to. */
export type Rekey =
  | { readonly kind: 'none' }
  | { readonly kind: 'asked'; readonly deadlineMs: number }
  | {
      readonly kind: 'running';
      readonly id: SessionNonce;
      readonly base: number;
      readonly deadlineMs: number;
    };

export interface RekeyRules {
  /** This side is DTLS client. */
  readonly begins: boolean;
  readonly afterMs: number;
  readonly afterBytes: number;
}
export const defaultRekeyRules: RekeyRules = {
  begins: false,
  afterMs: rekeyMs,
  afterBytes: rekeyBytes,
};

export interface SessionState {
  readonly peer: NodeId;
  readonly setup: Setup;
  readonly link: Link;
  readonly standby: Standby | null;
  readonly rekey: Rekey;
  /** The last handshake inside the link, its begin, and failures in a row. */
  readonly rekeyed: {
    readonly id: SessionNonce | null;
    readonly atMs: number;
    readonly failures: number;
  };
  readonly rules: RekeyRules;
  /** Replaced associations that still receive, oldest first, and when they end at the latest. */
  readonly retiring: ReadonlyArray<{ readonly number: number; readonly untilMs: number }>;
  readonly negotiation: Negotiation;
  /** Attempts that failed in a row. */
  readonly failures: number;
  /** When attempts were started on the peer's word, within the window. */
  readonly starts: readonly number[];
  readonly wantedMs: number;
  readonly lastError: string | null;
}

export interface Remote {
  readonly ufrag: string;
  readonly password: string;
  readonly candidates: readonly string[];
  readonly directOnly?: boolean;
}

export type TimerId =
  | 'pause'
  | 'repeat'
  | 'deadline'
  | 'ask'
  | 'tick'
  | 'improve'
  | 'rekey'
  | 'confirm'
  | `retire-${number}`;

export type Input =
  | { readonly kind: 'wanted' }
  | { readonly kind: 'description'; readonly heard: Heard; readonly remote: Remote }
  /** Candidates of ours were found. */
  | { readonly kind: 'candidates'; readonly own: SessionNonce }
  | { readonly kind: 'validated'; readonly own: SessionNonce }
  | { readonly kind: 'ice-failed'; readonly own: SessionNonce; readonly reason: string }
  /** The handshake is done and the peer is who it should be. */
  | { readonly kind: 'secured'; readonly own: SessionNonce; readonly relayed?: boolean }
  /** It failed, or (`refused`) somebody else answered. */
  | {
      readonly kind: 'insecure';
      readonly own: SessionNonce;
      readonly reason: string;
      readonly refused: boolean;
    }
  /** Addresses or default routes of this host changed. */
  | { readonly kind: 'network-changed' }
  /** Something was opened with an association that is not the one in use. */
  | { readonly kind: 'heard'; readonly number: number }
  /** A datagram of a handshake came in over the link; null: the peer asks us to begin one. */
  | { readonly kind: 'rekey-heard'; readonly number: number; readonly id: SessionNonce | null }
  /** The handshake inside the link is done and the peer is who it should be, or it failed. */
  | { readonly kind: 'rekey-secured'; readonly id: SessionNonce }
  | { readonly kind: 'rekey-failed'; readonly id: SessionNonce; readonly reason: string }
  | {
      readonly kind: 'timer';
      readonly id: TimerId;
      /** Since the last record of the association in use, or of the one that the timer is about. */
      readonly heardAgoMs: number;
      /** Bytes under the keys in use, the larger direction. */
      readonly usedBytes?: number;
    }
  | { readonly kind: 'ended'; readonly reason: string }
  /** We end it: what the peer has shown is not trusted any more. */
  | { readonly kind: 'distrusted'; readonly reason: string }
  | { readonly kind: 'unwanted'; readonly reason: string };

/** What an input may need and a pure function cannot make. */
export interface Moment {
  readonly nowMs: number;
  readonly nonce: SessionNonce;
  readonly random: number;
  /** A session number that is free in the datapath. */
  readonly number: number;
}

export type Effect =
  | { readonly kind: 'start-ice'; readonly own: SessionNonce; readonly direct: boolean }
  | { readonly kind: 'pair-ice'; readonly own: SessionNonce; readonly remote: Remote }
  | {
      readonly kind: 'add-candidates';
      readonly own: SessionNonce;
      readonly candidates: readonly string[];
    }
  | { readonly kind: 'stop-ice'; readonly own: SessionNonce }
  | {
      readonly kind: 'describe';
      readonly own: SessionNonce;
      readonly peerNonce: SessionNonce | null;
    }
  | { readonly kind: 'start-handshake'; readonly own: SessionNonce }
  | {
      readonly kind: 'install';
      readonly own: SessionNonce;
      readonly number: number;
      /** The handshake inside the link that the keys are from; null: the attempt's own. */
      readonly rekey: SessionNonce | null;
    }
  /** Frames go over the association from now on, and no more over `from`. */
  | { readonly kind: 'use'; readonly number: number; readonly from: number | null }
  | { readonly kind: 'start-rekey'; readonly id: SessionNonce; readonly base: number }
  | { readonly kind: 'stop-rekey'; readonly id: SessionNonce }
  | { readonly kind: 'ask-rekey'; readonly number: number }
  | { readonly kind: 'remove'; readonly number: number }
  | { readonly kind: 'up'; readonly setUpMs: number }
  | { readonly kind: 'path-changed' }
  | { readonly kind: 'down'; readonly reason: string }
  | { readonly kind: 'ask'; readonly number: number }
  | { readonly kind: 'timer'; readonly id: TimerId; readonly atMs: number }
  | { readonly kind: 'note'; readonly what: string };

export type SessionStep = Step<SessionState, Effect>;

export const initialSession = (
  peer: NodeId,
  nowMs: number,
  rules: RekeyRules = defaultRekeyRules,
): SessionState => ({
  peer,
  setup: { kind: 'none' },
  link: { kind: 'down' },
  standby: null,
  rekey: { kind: 'none' },
  rekeyed: { id: null, atMs: nowMs, failures: 0 },
  rules,
  retiring: [],
  negotiation: idle,
  failures: 0,
  starts: [],
  wantedMs: nowMs,
  lastError: null,
});

/** What the operator is told. */
export function phaseOf(state: SessionState): 'waiting' | 'connecting' | 'online' | 'retrying' {
  if (state.link.kind === 'up') return 'online';
  switch (state.setup.kind) {
    case 'connecting':
    case 'securing':
      return 'connecting';
    case 'pause':
      return 'retrying';
    case 'offered':
    case 'none':
      return 'waiting';
  }
}
