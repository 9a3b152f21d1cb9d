/**
 * Whether a certificate is the peer's: its key must give the expected node id. Owns that check;
 * chains and revocation are the controller's trust policy, applied before a session is wanted.
 */
import { createHash, X509Certificate } from 'node:crypto';
import { messageOf } from '../../base/errors.ts';
import { type NodeId, nodeIdFromBytes } from '../../base/ids.ts';

/** What is wrong with the certificate of `expected`, or null. `der` comes from a peer. */
export function peerProblem(der: Uint8Array, expected: NodeId): string | null {
  try {
    const { publicKey } = new X509Certificate(der);
    const curve = publicKey.asymmetricKeyDetails?.namedCurve;
    if (publicKey.asymmetricKeyType !== 'ec' || curve !== 'prime256v1') {
      return 'the peer shows a key that is not ECDSA P-256';
    }
    const spki = publicKey.export({ type: 'spki', format: 'der' });
    const found = nodeIdFromBytes(createHash('sha256').update(spki).digest());
    return found === expected ? null : `the peer shows the key of node ${found}`;
  } catch (error) {
    return `the peer shows an unreadable certificate: ${messageOf(error)}`;
  }
}
