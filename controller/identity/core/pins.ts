/**
 * Trust on first use, as a decision: which key belongs to an account and node name of an overlay.
 * Owns the schema of the pins file and the rule; never touches the file.
 */
import { z } from 'zod';
import { NodeId, OverlayId } from '../../../base/ids.ts';

/** Pins that are kept; a new peer beyond them is refused, never an old pin dropped. */
export const maxPins = 4_096;

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
  | {
      readonly kind: 'refused';
      readonly reason: string;
      /** The key that is pinned at this very place, when that is what hinders. */
      readonly pinned: NodeId | null;
    };

/** An operator's word that a node has a new key: both are named, so that neither is mistaken. */
export interface KeyChange {
  readonly overlay: OverlayId;
  readonly account: string;
  readonly name: string;
  readonly from: NodeId;
  readonly to: NodeId;
}

export type PinChange =
  | { readonly kind: 'done'; readonly pins: readonly Pin[] }
  | { readonly kind: 'refused'; readonly reason: string };

/** Judges a claim; a first one is answered with the list that holds it. */
export function judgeClaim(pins: readonly Pin[], claim: Claim, firstSeen: string): PinVerdict {
  for (const pin of pins) {
    if (pin.overlay !== claim.overlay) continue;
    const samePlace = pin.account === claim.account && pin.name === claim.name;
    if (samePlace && pin.node === claim.node) return { kind: 'known' };
    if (samePlace) {
      return refused(
        `node "${claim.name}" of ${claim.account} has key ${claim.node}, pinned is ${pin.node}`,
        pin.node,
      );
    }
    if (pin.node === claim.node) {
      return refused(
        `key ${claim.node} is pinned to node "${pin.name}" of ${pin.account}, not to "${claim.name}" of ${claim.account}`,
      );
    }
  }
  if (pins.length >= maxPins) return refused(`${maxPins} keys are pinned already`);
  return { kind: 'pinned', pins: [...pins, { ...claim, firstSeen }] };
}

/** The pins after an operator accepted the change of a key. */
export function replacePin(
  pins: readonly Pin[],
  { overlay, account, name, from, to }: KeyChange,
  firstSeen: string,
): PinChange {
  const place = `node "${name}" of ${account} in overlay ${overlay}`;
  const known = pins.find((pin) => isAt(pin, { overlay, account, name }));
  if (known === undefined) return no(`no key is pinned for ${place}`);
  if (known.node !== from) return no(`${place} is pinned to ${known.node}, not to ${from}`);
  if (from === to) return no(`both keys are ${from}`);
  const other = pins.find((pin) => pin.overlay === overlay && pin.node === to);
  if (other !== undefined) {
    return no(`key ${to} is pinned to node "${other.name}" of ${other.account}: forget that first`);
  }
  const fresh: Pin = { overlay, account, name, node: to, firstSeen };
  return { kind: 'done', pins: pins.map((pin) => (pin === known ? fresh : pin)) };
}

/** The pins without that of a node that is gone; its key must be named. */
export function forgetPin(pins: readonly Pin[], claim: Claim): PinChange {
  const known = pins.find((pin) => isAt(pin, claim));
  const place = `node "${claim.name}" of ${claim.account} in overlay ${claim.overlay}`;
  if (known === undefined) return no(`no key is pinned for ${place}`);
  if (known.node !== claim.node) return no(`${place} is pinned to ${known.node}`);
  return { kind: 'done', pins: pins.filter((pin) => pin !== known) };
}

const isAt = (pin: Pin, place: Pick<Claim, 'overlay' | 'account' | 'name'>): boolean =>
  pin.overlay === place.overlay && pin.account === place.account && pin.name === place.name;

const no = (reason: string): PinChange => ({ kind: 'refused', reason });
const refused = (reason: string, pinned: NodeId | null = null): PinVerdict => ({
  kind: 'refused',
  reason,
  pinned,
});
