/**
 * DTLS handshakes with one peer: what they are given, whom they proved, and those that travel inside the
 * link or over the ring. Owns the last one of these; a done one lingers, to answer a peer that lost its
 * end. Decides nothing.
 */
import type { NodeId, SessionNonce } from '../../base/ids.ts';
import type { SessionNumber } from '../datapath/datapath.ts';
import type { HandshakeOptions } from '../datapath/handshake.ts';
import { controlBytes, encodeControl, handshakeNonce } from './core/control.ts';
import { encodeRingSetup, ringDatagramBytes } from './core/ring-setup.ts';
import type { Input } from './core/session-state.ts';
import { handshakeRetransmitMs } from './core/timers.ts';
import { HandshakeDrive, type Secured } from './handshake-drive.ts';
import { peerProblem } from './peer-certificate.ts';
import type { SessionDeps } from './session-contract.ts';

/** DTLS datagrams stay below what any path of the Internet carries. */
const handshakeDatagramBytes = 1_200;
const noBytes = new Uint8Array(0);

export interface KeyExchangeDeps extends SessionDeps {
  readonly peer: NodeId;
  readonly input: (input: Input) => void;
  readonly sendControl: (number: SessionNumber, payload: Uint8Array) => boolean;
  /** Largest frame of the path in use. */
  readonly fits: () => number;
}

export class KeyExchange {
  readonly #deps: KeyExchangeDeps;
  #last: { readonly id: SessionNonce; readonly drive: HandshakeDrive } | null = null;

  constructor(deps: KeyExchangeDeps) {
    this.#deps = deps;
  }

  /** The smaller node id is DTLS server, of attempts and of these. */
  get isServer(): boolean {
    return this.#deps.me < this.#deps.peer;
  }

  options(maxDatagramBytes = handshakeDatagramBytes): HandshakeOptions {
    const { certificate, key, preferChaCha } = this.#deps;
    return {
      role: this.isServer ? 'server' : 'client',
      certificate,
      key,
      maxDatagramBytes,
      retransmitMs: handshakeRetransmitMs,
      preferChaCha,
    };
  }

  /** Null: it is who it should be. */
  problemOf({ peerCertificate, keyLogLine }: Secured): string | null {
    const { log, keyLog } = this.#deps;
    const problem = this.problemWith(peerCertificate);
    if (problem !== null) log.warn('peer was refused', { reason: problem });
    else if (keyLogLine !== null) keyLog(keyLogLine);
    return problem;
  }

  /** What the peer has shown before, judged by what is trusted now. */
  problemWith(certificate: Uint8Array): string | null {
    const { clock, trust, peer } = this.#deps;
    return peerProblem(certificate, peer, trust(), clock.wallNow());
  }

  /** Datagrams are control payloads of the association `base`; null: they travel in envelopes. */
  start(id: SessionNonce, base: SessionNumber | null): void {
    this.end();
    const { ring, createHandshake, clock, input, fits } = this.#deps;
    if (base === null && !ring.admits()) {
      input({ kind: 'rekey-declined', id, reason: 'too many handshakes at once' });
      return;
    }
    const room = base === null ? ringDatagramBytes : fits() - controlBytes;
    const options = this.options(Math.min(handshakeDatagramBytes, room));
    const drive = new HandshakeDrive(createHandshake(options), clock, {
      send: (datagram) => this.#send(base, id, datagram),
      onSecured: (secured) => {
        const problem = this.problemOf(secured);
        if (problem === null) input({ kind: 'rekey-secured', id });
        else input({ kind: 'rekey-failed', id, reason: problem });
      },
      onInsecure: (reason) => input({ kind: 'rekey-failed', id, reason }),
    });
    this.#last = { id, drive };
    if (!this.isServer) drive.start();
  }

  feed(id: SessionNonce | null, datagram: Uint8Array): void {
    if (id !== null && this.#last?.id === id) this.#last.drive.feed(datagram);
  }

  /** Asks the peer, the DTLS client, to begin. */
  ask(base: SessionNumber | null): void {
    this.#send(base, null, noBytes);
  }

  secured(id: SessionNonce): Secured | null {
    return this.#last?.id === id ? this.#last.drive.secured : null;
  }

  stop(id: SessionNonce): void {
    if (this.#last?.id === id) this.end();
  }

  end(): void {
    this.#last?.drive.close();
    this.#last = null;
  }

  #send(base: SessionNumber | null, id: SessionNonce | null, datagram: Uint8Array): void {
    const { ring, peer, sendControl } = this.#deps;
    if (base === null) ring.send(peer, encodeRingSetup({ id, datagram }));
    else {
      sendControl(base, encodeControl({ kind: 'rekey', nonce: handshakeNonce(id), datagram }));
    }
  }
}
