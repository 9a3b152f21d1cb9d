/**
 * Who this node is and whom it believes: the key and certificate, signing and verifying, trust. What
 * main needs of the module; on the bus it says only that what trust rests on has changed.
 */
export type { Claim, KeyChange, Pin } from './core/pins.ts';
export { type IdentityOptions, loadIdentity, type NodeIdentity } from './node-identity.ts';
export { OverlayTrust, type OverlayTrustConfig, type TrustSnapshot } from './overlay-trust.ts';
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
