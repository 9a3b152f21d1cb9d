/**
 * Trust on first use, as a decision: which key belongs to an account and node name of an overlay.
 * Owns the schema of the pins file and the rule; never touches the file.
 */
import { z } from 'zod';
import { NodeId, OverlayId } from '../../../base/ids.ts';

/** Pins that are kept; a new peer beyond them is refused, never an old pin dropped. */
export const maxPins = 4_096;
/** Of one account: nodes may share one, but one that was taken over must not fill the list. */
export const maxPinsOfAccount = 1_024;

export const Pin = z.strictObject({
  overlay: OverlayId,
  /** Bare JID of the account that the key was first seen from. */
  account: z.string().min(3).max(2_047),
  name: z.string().min(1).max(63),
  node: NodeId,
  firstSeen: z.iso.datetime(),
});
export type Pin = z.infer<typeof Pin>;

export const PinsFile = z.strictObject({
  version: z.literal(1),
  pins: z.array(Pin).max(maxPins),
});

/** What a peer claims to be; its announcement was verified against the key of `node`. */
export interface Claim {
  readonly overlay: OverlayId;
  readonly account: string;
  readonly name: string;
  readonly node: NodeId;
}

export type PinVerdict =
  | { readonly kind: 'known' }
  | { readonly kind: 'pinned'; readonly pins: readonly Pin[] }
  | { readonly kind: 'refused'; readonly reason: string };

/** Judges a claim; a first one is answered with the list that holds it. */
export function judgeClaim(pins: readonly Pin[], claim: Claim, firstSeen: string): PinVerdict {
  let ofAccount = 0;
  for (const pin of pins) {
    if (pin.overlay !== claim.overlay) continue;
    if (pin.account === claim.account) ofAccount += 1;
    const samePlace = pin.account === claim.account && pin.name === claim.name;
    if (samePlace && pin.node === claim.node) return { kind: 'known' };
    if (samePlace) {
      return refused(
        `node "${claim.name}" of ${claim.account} has key ${claim.node}, pinned is ${pin.node}`,
      );
    }
    if (pin.node === claim.node) {
      return refused(
        `key ${claim.node} is pinned to node "${pin.name}" of ${pin.account}, not to "${claim.name}" of ${claim.account}`,
      );
    }
  }
  if (pins.length >= maxPins) return refused(`${maxPins} keys are pinned already`);
  if (ofAccount >= maxPinsOfAccount) {
    return refused(`${maxPinsOfAccount} keys of ${claim.account} are pinned already`);
  }
  return { kind: 'pinned', pins: [...pins, { ...claim, firstSeen }] };
}

/** The pins after an operator accepted `claim`: whatever contradicts it is gone. */
export function acceptClaim(pins: readonly Pin[], claim: Claim, firstSeen: string): readonly Pin[] {
  const others = pins.filter(
    (pin) =>
      pin.overlay !== claim.overlay ||
      ((pin.account !== claim.account || pin.name !== claim.name) && pin.node !== claim.node),
  );
  return [...others, { ...claim, firstSeen }];
}

const refused = (reason: string): PinVerdict => ({ kind: 'refused', reason });
