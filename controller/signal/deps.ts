/**
 * What signal is given: collaborators, the configuration of each overlay, its times. Owns these
 * interfaces and the numbers; identity fits `Authority` without either knowing the other.
 */
import type { Clock } from '../../base/clock.ts';
import type { NodeId, OverlayId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Secret } from '../../base/secret.ts';
import type { Port } from '../bus.ts';
import type { PeerMessage } from '../peer-messages.ts';
import { type BackoffPolicy, defaultBackoff } from './core/backoff.ts';

/** Signs what we say and judges what others say; all texts are printable ASCII. */
export interface Authority {
  /** Our announcement for presence, valid at this full JID only. */
  announce(
    overlay: OverlayId,
    jid: string,
    name: string,
    more: {
      readonly leaf: boolean;
      readonly addresses: readonly string[];
      readonly podRanges: readonly string[] | null;
    },
  ): string;
  /** Verifies an announcement and asks the trust policy. */
  admit(
    text: string,
    place: { readonly overlay: OverlayId; readonly jid: string; readonly account: string },
  ):
    | {
        readonly kind: 'admitted';
        readonly node: NodeId;
        readonly name: string;
        readonly leaf: boolean;
        readonly issuedAtMs: number;
        /** Those that it says its host has in the overlay. */
        readonly addresses: readonly string[];
        /** Which pods it says are behind it; null: it attaches none. */
        readonly podRanges: readonly string[] | null;
      }
    | {
        readonly kind: 'refused';
        readonly name: string;
        /** `invalid`: wrong in itself; `untrusted`: the policy may change its mind. */
        readonly reason: 'invalid' | 'untrusted';
        readonly detail: string;
        readonly change: { readonly from: NodeId; readonly to: NodeId } | null;
      };
  /** Why a node that was admitted is not trusted any more, or null. */
  distrusted(overlay: OverlayId, node: NodeId): string | null;
  seal(overlay: OverlayId, to: NodeId, message: PeerMessage): string;
  /** Verifies a message that came from the JID of `from`; each is accepted once. */
  open(
    overlay: OverlayId,
    from: NodeId,
    text: string,
  ):
    | { readonly kind: 'message'; readonly message: PeerMessage }
    | { readonly kind: 'refused'; readonly reason: string; readonly detail: string };
}

/** One overlay's account and server, from a validated configuration. */
export interface OverlaySignalConfig {
  readonly overlay: OverlayId;
  /** Name or address to connect to. */
  readonly host: string;
  readonly port: number;
  readonly tls: 'starttls' | 'direct';
  /** Bare JID; its domain is the one that the server's certificate must be of. */
  readonly username: string;
  readonly password: Secret | null;
  /** For SASL EXTERNAL; PEM. */
  readonly clientCertificate: { readonly certificate: string; readonly key: Secret } | null;
  /** CA certificates to trust instead of the system's, PEM. */
  readonly caPem: string | null;
  /** Only roster items of this group are members; null: all with a subscription. */
  readonly rosterGroup: string | null;
  readonly nodeName: string;
  /** This node carries nobody's traffic, and says so in its announcement. */
  readonly leaf: boolean;
  /** Of this host in the overlay, without prefixes. */
  readonly addresses: readonly string[];
}

/** The times of the module, and why. */
export interface SignalPolicy {
  readonly backoff: BackoffPolicy;
  /** TCP to a server that is there takes one round trip; more is a black hole. */
  readonly connectTimeoutMs: number;
  /** TLS, login and binding: some ten round trips and one password derivation. */
  readonly loginTimeoutMs: number;
  /** Answer to an iq; the roster may be large. */
  readonly requestTimeoutMs: number;
  /** XEP-0199: also keeps NAT mappings and finds a dead server within a minute. */
  readonly pingEveryMs: number;
  readonly pingDeadlineMs: number;
  /** The same after the network of this host has changed: peers wait for what we have to say. */
  readonly hurriedPingMs: number;
  /** Certificates expire and clocks are set while peers are up; their links end within a minute. */
  readonly judgeEveryMs: number;
  /** After a login: who has not announced itself again by then left while we were away. */
  readonly settleMs: number;
}

export const defaultPolicy: SignalPolicy = {
  backoff: defaultBackoff,
  connectTimeoutMs: 10_000,
  loginTimeoutMs: 20_000,
  requestTimeoutMs: 20_000,
  pingEveryMs: 30_000,
  pingDeadlineMs: 20_000,
  judgeEveryMs: 10_000,
  settleMs: 10_000,
  hurriedPingMs: 1_000,
};

export interface SignalDeps {
  readonly port: Port<'signal'>;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly log: Logger;
  readonly self: NodeId;
  readonly authority: Authority;
  readonly overlays: readonly OverlaySignalConfig[];
  readonly policy?: SignalPolicy;
}
