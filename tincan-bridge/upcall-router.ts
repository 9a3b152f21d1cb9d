/**
 * What the datapath hands up: each upcall goes to the session, the switch, the ring or the ICE agent that
 * it is for. Owns which session a number belongs to; decides nothing.
 */
import { messageOf } from '../base/errors.ts';
import type { NodeId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import type { SessionNumber, Upcall } from './datapath/datapath.ts';
import { applicationData } from './datapath/wire.ts';
import type { EnvelopeUpcall } from './fabric/envelopes.ts';
import type { Switch } from './fabric/switch.ts';
import type { DatagramRouter } from './ice/router.ts';
import { decodeRingSetup } from './session/core/ring-setup.ts';
import type { PeerSession } from './session/peer-session.ts';
import type { SessionBook } from './session-book.ts';

/** Kinds of control payloads below are the session's own. */
const firstRingKind = 16;
type MessageUpcall = Extract<Upcall, { readonly kind: 'message' }>;

export interface UpcallRouterDeps {
  readonly me: NodeId;
  readonly log: Logger;
  readonly router: DatagramRouter;
  readonly switch: Switch;
  readonly book: SessionBook;
}

export class UpcallRouter {
  readonly counts = {
    upcallErrors: 0,
    lateControls: 0,
    lateFloods: 0,
    envelopesUnreadable: 0,
  };
  readonly #deps: UpcallRouterDeps;
  readonly #sessions = new Map<SessionNumber, PeerSession>();
  #nextNumber = 0;

  constructor(deps: UpcallRouterDeps) {
    this.#deps = deps;
  }

  /** Associations that receive. */
  get associations(): number {
    return this.#sessions.size;
  }

  /** Numbers of sessions are not reused: a late upcall must not meet another session. */
  nextNumber(): SessionNumber {
    this.#nextNumber = (this.#nextNumber % 0x7fff_ffff) + 1;
    return this.#nextNumber;
  }

  installed(number: SessionNumber, session: PeerSession): void {
    this.#sessions.set(number, session);
  }

  removed(number: SessionNumber): void {
    this.#sessions.delete(number);
  }

  answer(upcalls: readonly Upcall[]): void {
    for (const upcall of upcalls) {
      try {
        this.#answerOne(upcall);
      } catch (error) {
        this.counts.upcallErrors += 1;
        // Counted, and logged at most for each power of two: a peer may cause it at will.
        const count = this.counts.upcallErrors;
        if ((count & (count - 1)) === 0) {
          this.#deps.log.error('upcall failed', {
            event: upcall.kind,
            error: messageOf(error),
            count,
          });
        }
      }
    }
  }

  #answerOne(upcall: Upcall): void {
    switch (upcall.kind) {
      case 'datagram':
        this.#deps.router.route(upcall.socket, upcall.from, upcall.bytes);
        return;
      case 'frame-in':
        // First: a session that waits to be heard is up from now on, and the frame teaches.
        this.#sessions.get(upcall.session)?.heard(upcall.session);
        this.#deps.switch.upcall(upcall);
        return;
      case 'frame-out':
        this.#deps.switch.upcall(upcall);
        return;
      case 'message': {
        this.#message(upcall);
        return;
      }
      case 'envelope':
        this.#envelope(upcall);
    }
  }

  #message({ session: number, type, bytes, checksumUndone }: MessageUpcall): void {
    const session = this.#sessions.get(number);
    if (session === undefined) {
      if (type === 'flood') this.counts.lateFloods += 1;
      else this.counts.lateControls += 1;
    } else if (type === 'flood') this.#deps.switch.ring.flood(session.peer, bytes, checksumUndone);
    else if ((bytes[0] ?? 0) < firstRingKind) session.control(number, bytes);
    else this.#deps.switch.ring.control(session.peer, bytes);
  }

  #envelope(upcall: EnvelopeUpcall): void {
    const from = this.#sessions.get(upcall.session);
    if (from === undefined) {
      this.counts.envelopesUnreadable += 1;
      return;
    }
    if (upcall.destination !== this.#deps.me) {
      this.#deps.switch.ring.forward(from.peer, upcall);
      return;
    }
    const { source, bytes } = upcall;
    const setup = decodeRingSetup(bytes);
    const isRecord = bytes[0] === applicationData;
    const session = setup !== null || isRecord ? this.#deps.book.overRing(source) : null;
    if (session === null) this.counts.envelopesUnreadable += 1;
    else if (setup !== null) {
      if (!session.isUp) this.#deps.switch.ring.hint(source, from.peer);
      session.ringDatagram(setup);
    }
    // The source has keys that we do not have (any more): new ones are made.
    else if (!session.isUp) session.need();
  }
}
