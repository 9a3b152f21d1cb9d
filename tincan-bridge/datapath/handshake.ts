/**
 * A DTLS 1.2 handshake (RFC 6347) by the OpenSSL inside Node, as the session shell sees it. Owns no
 * socket and no timer: datagrams in, datagrams out, a deadline to obey. Never writes application
 * data or alerts after it is done, so that its record numbers and ours never meet.
 */
import type { RecordKeys } from './datapath.ts';

export interface HandshakeOptions {
  readonly role: 'client' | 'server';
  /** Own certificate and key, PEM. The key must be ECDSA P-256. */
  readonly certificate: string;
  readonly key: string;
  /** Largest datagram that the handshake makes, bytes of UDP payload, 256…1472. */
  readonly maxDatagramBytes: number;
  /** First retransmission after this long, doubling up to 2 s (RFC 6347 section 4.2.4.1). */
  readonly retransmitMs: number;
  /** Prefer ChaCha20-Poly1305, for machines without AES instructions. */
  readonly preferChaCha: boolean;
}

export type HandshakeState =
  | { readonly state: 'running' }
  | {
      readonly state: 'done';
      /**
       * DER of the peer's certificate; the peer has proved that it holds its key. Whose key that
       * is, the caller must check before it uses the keys.
       */
      readonly peerCertificate: Uint8Array;
      readonly keys: RecordKeys;
      /** Name of the cipher suite as OpenSSL prints it. */
      readonly cipher: string;
    }
  | { readonly state: 'failed'; readonly reason: string };

export interface Handshake {
  /** Starts (a client makes its ClientHello) or goes on after a datagram; returns the new state. */
  start(): HandshakeState;
  /** Takes one datagram from the peer; anything malformed is ignored or fails the handshake. */
  feed(datagram: Uint8Array): HandshakeState;
  /** To be called when `deadlineMs` has passed: retransmits. */
  expire(): HandshakeState;
  /** Datagrams to send now; empties the queue. */
  take(): Uint8Array[];
  /** Milliseconds until `expire` is due, or null when nothing is to be retransmitted. */
  deadlineMs(): number | null;
  /** NSS key log line (CLIENT_RANDOM …) of a finished handshake, for tshark; null before. */
  keyLogLine(): string | null;
  /** Frees OpenSSL's objects and wipes secrets. Idempotent. A done one must live on for a while to
   * answer a peer that lost our last flight: keep feeding it handshake datagrams until closed. */
  close(): void;
}
