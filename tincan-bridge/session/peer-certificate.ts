/**
 * Whether a certificate is the peer's: its key must give the expected node id, and where the overlay
 * has a CA that must have signed it. Owns the check at the end of a handshake; the controller judged
 * the same before, but by what an XMPP server had carried.
 */
import { EvioError, messageOf } from '../../base/errors.ts';
import type { NodeId, OverlayId } from '../../base/ids.ts';
import { readNodeCertificate } from '../../base/node-certificate.ts';
import {
  certificateProblem,
  type OverlayCa,
  readOverlayCa,
} from '../../base/overlay-certificate.ts';
import type { TrustAnchors } from '../protocol/schema.ts';

/** What a peer's certificate must stand, besides being of the right key. */
export interface PeerTrust {
  readonly ca: OverlayCa;
  readonly overlay: OverlayId;
  readonly revoked: ReadonlySet<string>;
}

/** From the parameters of a call. Throws `request.invalid` when the CA cannot be used. */
export function readTrust(overlay: OverlayId, anchors: TrustAnchors | null): PeerTrust | null {
  if (anchors === null) return null;
  try {
    return { overlay, ca: readOverlayCa(anchors.ca), revoked: new Set(anchors.revoked) };
  } catch (error) {
    throw new EvioError('request.invalid', `trust.ca: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * What is wrong with the certificate of `expected`, or null. `encoded` comes from a peer. Without
 * `trust` the controller's pins say whose key it must be. `nowMs` is the wall clock.
 */
export function peerProblem(
  encoded: Uint8Array,
  expected: NodeId,
  trust: PeerTrust | null,
  nowMs: number,
): string | null {
  try {
    const { node, x509 } = readNodeCertificate(encoded);
    if (node !== expected) return `the peer shows the key of node ${node}`;
    if (trust === null) return null;
    return certificateProblem(x509, { ...trust, node }, nowMs);
  } catch (error) {
    return `the peer shows an unusable certificate: ${messageOf(error)}`;
  }
}
