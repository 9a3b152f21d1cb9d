/**
 * State, inputs and effects of the machine of one peer session. Owns the shapes and the diagram;
 * `session.ts` leads to the transitions.
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
 *
 * A handshake may go over the ring, too, when there is no link (`ring.ts`); its association has no
 * attempt and only the ring path. A link whose own path fails moves to the ring with the keys it has.
 */
import type { NodeId, SessionNonce } from '../../../base/ids.ts';
import type { Step } from '../../../base/machine.ts';
import { type Heard, idle, type Negotiation } from './negotiation.ts';
import { rekeyBytes, rekeyMs } from './timers.ts';

/** What a link leads over: pairs of ICE, or other members. */
export type LinkPath = 'direct' | 'turn' | 'ring';

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
      /** When the first one of the unanswered was asked. */
      readonly doubtMs: number;
      /** The path is taken for dead since then. */
      readonly suspectSinceMs: number | null;
      readonly path: LinkPath;
      /** So many attempts to find a better path have failed. */
      readonly sought: number;
    };

/** Keys that are installed and wait until the peer has been heard under them. */
export interface Standby {
  /** Attempt whose sockets they use; of a handshake over the ring its id. */
  readonly own: SessionNonce;
  readonly number: number;
  readonly by: 'attempt' | 'rekey' | 'ring';
  readonly path: LinkPath;
  readonly deadlineMs: number;
}

/**
 * A handshake inside the link, or over the ring (`base` null). The DTLS client begins; the other side
 * can only ask it to.
 */
export type Rekey =
  | { readonly kind: 'none' }
  | { readonly kind: 'asked'; readonly over: 'link' | 'ring'; readonly deadlineMs: number }
  | {
      readonly kind: 'running';
      readonly id: SessionNonce;
      readonly base: number | null;
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
  /** A link, on a path of its own, is wanted; else the session may only use the ring. */
  readonly wanted: boolean;
  /** Not wanted any more, but frames flowed: it goes on over the ring. */
  readonly keeps: boolean;
  readonly ring: {
    /** Until then something waits for the session. */
    readonly neededUntilMs: number;
    /** Handshakes over the ring that failed in a row, and when the next one may begin. */
    readonly failures: number;
    readonly retryMs: number;
  };
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
  /** The link is not wanted any more. `keep`: over the ring it is. */
  | { readonly kind: 'released'; readonly keep: boolean }
  /** Something waits for the session. */
  | { readonly kind: 'needed' }
  /** The ways over the ring have changed. */
  | { readonly kind: 'ways-changed' }
  /** The peer sends over the ring: it has given its own path up, or never had one. */
  | { readonly kind: 'peer-on-ring'; readonly number: number }
  /** A datagram of a handshake came over the ring; null: the peer asks us to begin one. */
  | {
      readonly kind: 'ring-heard';
      readonly id: SessionNonce | null;
      /** Since the last record of the link, -1 for never. */
      readonly heardAgoMs: number;
    }
  /** A datagram of a handshake came in over the link; null: the peer asks us to begin one. */
  | { readonly kind: 'rekey-heard'; readonly number: number; readonly id: SessionNonce | null }
  /** The handshake inside the link is done and the peer is who it should be, or it failed. */
  | { readonly kind: 'rekey-secured'; readonly id: SessionNonce }
  | { readonly kind: 'rekey-failed'; readonly id: SessionNonce; readonly reason: string }
  /** It was not begun, for there are too many: the peer may repeat its question. */
  | { readonly kind: 'rekey-declined'; readonly id: SessionNonce; readonly reason: string }
  | {
      readonly kind: 'timer';
      readonly id: TimerId;
      /** Since the last record of the association in use, or of the one that the timer is about. */
      readonly heardAgoMs: number;
      /** No frame flows, and none waits for an answer. */
      readonly calm?: boolean;
      /** The peer is off the signalling server: it may be gone. */
      readonly away?: boolean;
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
  /** There is a way to the peer over the ring, not over its own link. */
  readonly way?: boolean;
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
      /** It leads over the ring. */
      readonly ring: boolean;
    }
  /** The association leads over the ring from now on; on its own path it still receives. */
  | { readonly kind: 'use-ring'; readonly number: number }
  /** The sockets of an association that leads over the ring are of no use any more. */
  | { readonly kind: 'shed'; readonly number: number }
  /** Frames go over the association from now on, and no more over `from`. */
  | { readonly kind: 'use'; readonly number: number; readonly from: number | null }
  | { readonly kind: 'start-rekey'; readonly id: SessionNonce; readonly base: number | null }
  | { readonly kind: 'stop-rekey'; readonly id: SessionNonce }
  /** Null: over the ring. */
  | { readonly kind: 'ask-rekey'; readonly number: number | null }
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
  wanted = true,
): SessionState => ({
  peer,
  wanted,
  keeps: false,
  ring: { neededUntilMs: 0, failures: 0, retryMs: 0 },
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
