/**
 * What this node signs, and what it believes of others: announcements, then messages of those whose
 * announcement was admitted. Owns the peers' keys and the replay memory, both bounded; every way
 * that a message can come (XMPP, in-band) asks the same one.
 */
import type { KeyObject } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { NodeId, OverlayId } from '../../base/ids.ts';
import { type NodeCertificate, readNodeCertificate } from '../../base/node-certificate.ts';
import { remember } from '../../base/remember.ts';
import {
  AnnouncementBody,
  type PeerMessage,
  peerProtocolVersion,
  SignedBody,
} from '../peer-messages.ts';
import {
  acceptMessage,
  emptyReplayMemory,
  judgeAnnouncement,
  messageLifetimeMs,
  type RefusedReason,
  type ReplayMemory,
} from './core/acceptance.ts';
import { isSignedBy, parseBody, parseEnvelope, sealEnvelope } from './envelope.ts';
import type { NodeIdentity } from './node-identity.ts';
import type { TrustClaim, TrustPolicy } from './trust.ts';

/** Keys of admitted peers that are kept; the one longest not admitted again goes first. */
const maxPeerKeys = 8_192;

export interface PeerAuthorityDeps {
  readonly identity: NodeIdentity;
  readonly clock: Clock;
  /** The policy of an overlay. */
  readonly trust: (overlay: OverlayId) => TrustPolicy;
  /** DER of the certificate that this node shows in an overlay. */
  readonly certificate: (overlay: OverlayId) => Uint8Array;
}

/** A peer that was admitted: what it signs is checked with the key, the claim is judged again. */
interface Admitted {
  readonly key: KeyObject;
  readonly claim: TrustClaim;
}

export interface Place {
  readonly overlay: OverlayId;
  /** Full JID that the announcement came from, by the word of the server. */
  readonly jid: string;
  /** Its bare JID. */
  readonly account: string;
}

export type Admission =
  | {
      readonly kind: 'admitted';
      readonly node: NodeId;
      readonly name: string;
      readonly leaf: boolean;
      readonly issuedAtMs: number;
      readonly addresses: readonly string[];
      readonly podRanges: readonly string[] | null;
    }
  | {
      readonly kind: 'refused';
      /** Name that it claims, or empty when not even that could be read. */
      readonly name: string;
      /** `invalid`: it is wrong in itself; `untrusted`: the policy does not accept it. */
      readonly reason: 'invalid' | 'untrusted';
      readonly detail: string;
      /** The key that is pinned instead of `node`'s, where a change was refused. */
      readonly change: { readonly from: NodeId; readonly to: NodeId } | null;
    };

export type Opened =
  | { readonly kind: 'message'; readonly message: PeerMessage }
  | {
      readonly kind: 'refused';
      readonly reason: RefusedReason | 'malformed' | 'unknown-sender' | 'bad-signature';
      readonly detail: string;
    };

/** What a node may say of itself besides who it is. */
export interface AnnouncedFacts {
  readonly leaf?: boolean;
  readonly addresses?: readonly string[];
  readonly podRanges?: readonly string[] | null;
}

export class PeerAuthority {
  readonly #deps: PeerAuthorityDeps;
  readonly #admitted = new Map<string, Admitted>();
  #replay: ReplayMemory = emptyReplayMemory;
  #sequence = 0;

  constructor(deps: PeerAuthorityDeps) {
    this.#deps = deps;
  }

  /** The text to put into presence, valid for this full JID only. */
  announce(overlay: OverlayId, jid: string, name: string, more: AnnouncedFacts = {}): string {
    const { leaf = false, addresses = [], podRanges = null } = more;
    const { identity, clock } = this.#deps;
    return sealEnvelope('announcement', identity.privateKey, {
      version: peerProtocolVersion,
      overlay,
      node: identity.node,
      name,
      leaf,
      jid,
      certificate: Buffer.from(this.#deps.certificate(overlay)).toString('base64'),
      issuedAtMs: Math.floor(clock.wallNow()),
      addresses,
      podRanges: podRanges ?? undefined,
    } satisfies Record<keyof AnnouncementBody, unknown>);
  }

  /** Verifies an announcement, asks the policy, and remembers the key of whom it admits. */
  admit(text: string, place: Place): Admission {
    const envelope = parseEnvelope(text);
    if (envelope === null) return invalid('', 'it is no envelope');
    // The key is inside what it signs, so this one body is parsed before it is verified.
    const parsed = AnnouncementBody.safeParse(parseBody(envelope));
    if (!parsed.success) return invalid('', `its body is malformed: ${where(parsed.error)}`);
    const body = parsed.data;
    const wrong = judgeAnnouncement(body, place, this.#deps.clock.wallNow());
    if (wrong !== null) return invalid(body.name, wrong);
    let certificate: NodeCertificate;
    try {
      certificate = readNodeCertificate(Buffer.from(body.certificate, 'base64'));
    } catch (error) {
      return invalid(body.name, messageOf(error));
    }
    if (certificate.node !== body.node) {
      return invalid(
        body.name,
        `it claims node id ${body.node}, its key gives ${certificate.node}`,
      );
    }
    if (!isSignedBy('announcement', certificate.publicKey, envelope)) {
      return invalid(body.name, 'its signature is wrong');
    }
    const { overlay, account } = place;
    const { node, name, leaf, issuedAtMs, addresses, podRanges = null } = body;
    const claim = { overlay, account, name, node, certificate: certificate.x509 };
    const verdict = this.#deps.trust(overlay).judge(claim);
    if (!verdict.accepted) {
      const { reason: detail, pinned } = verdict;
      const change = pinned === null ? null : { from: pinned, to: node };
      return { kind: 'refused', name, reason: 'untrusted', detail, change };
    }
    const admitted = { key: certificate.publicKey, claim };
    remember(this.#admitted, `${overlay} ${node}`, admitted, maxPeerKeys);
    return { kind: 'admitted', node, name, leaf, issuedAtMs, addresses, podRanges };
  }

  /**
   * Why a node that was admitted is not trusted any more (revoked, expired, forgotten), or null.
   * Nothing that it signed is opened then, until it is admitted again.
   */
  distrusted(overlay: OverlayId, node: NodeId): string | null {
    const place = `${overlay} ${node}`;
    const admitted = this.#admitted.get(place);
    if (admitted === undefined) return 'its announcement is not remembered';
    const verdict = this.#deps.trust(overlay).holds(admitted.claim);
    if (verdict.accepted) return null;
    this.#admitted.delete(place);
    return verdict.reason;
  }

  /** The text of a signed message. */
  seal(overlay: OverlayId, to: NodeId, message: PeerMessage): string {
    const { identity, clock } = this.#deps;
    const wallMs = clock.wallNow();
    this.#sequence = Math.max(this.#sequence + 1, Math.floor(wallMs * 1_000));
    return sealEnvelope('message', identity.privateKey, {
      version: peerProtocolVersion,
      overlay,
      from: identity.node,
      to,
      sequence: this.#sequence,
      expiresAtMs: Math.floor(wallMs) + messageLifetimeMs,
      message,
    } satisfies SignedBody);
  }

  /** Verifies a message that came by the channel of `from`. Believed once: a second time is a replay. */
  open(overlay: OverlayId, from: NodeId, text: string): Opened {
    const key = this.#admitted.get(`${overlay} ${from}`)?.key;
    if (key === undefined) return closed('unknown-sender', `no announcement of ${from} is known`);
    const envelope = parseEnvelope(text);
    if (envelope === null) return closed('malformed', 'it is no envelope');
    if (!isSignedBy('message', key, envelope)) {
      return closed('bad-signature', `the key of ${from} did not sign it`);
    }
    const body = SignedBody.safeParse(parseBody(envelope));
    if (!body.success) return closed('malformed', where(body.error));
    const expected = { overlay, from, self: this.#deps.identity.node };
    const wallMs = this.#deps.clock.wallNow();
    const accepted = acceptMessage(this.#replay, body.data, expected, wallMs);
    if (accepted.kind === 'refused') return accepted;
    this.#replay = accepted.memory;
    return { kind: 'message', message: body.data.message };
  }
}

const where = (error: {
  readonly issues: readonly { readonly path: readonly PropertyKey[]; readonly message: string }[];
}): string => {
  const [issue] = error.issues;
  return `${issue?.path.map(String).join('.') || 'body'}: ${issue?.message}`;
};
const invalid = (name: string, detail: string): Admission => ({
  kind: 'refused',
  name,
  reason: 'invalid',
  detail,
  change: null,
});
const closed = (
  reason: 'malformed' | 'unknown-sender' | 'bad-signature',
  detail: string,
): Opened => ({ kind: 'refused', reason, detail });
