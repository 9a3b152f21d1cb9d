/**
 * Who this node is and whom it believes: the key and certificate, signing and verifying, pinning.
 * What main needs of the module; publishes nothing on the bus.
 */
export type { Claim, Pin } from './core/pins.ts';
export { type IdentityOptions, loadIdentity, type NodeIdentity } from './node-identity.ts';
export {
  type Admission,
  type Opened,
  PeerAuthority,
  type PeerAuthorityDeps,
  type Place,
} from './peer-authority.ts';
export {
  PinStore,
  type PinStoreDeps,
  type TrustClaim,
  type TrustPolicy,
  type Verdict,
} from './trust.ts';
