/**
 * What the plugin is told of the overlays that pods can be attached to, by whoever runs it. Owns
 * this interface; the controller's pods module fits it without either knowing the other.
 */
import type { Range } from '../base/cidr.ts';
import type { OverlayId } from '../base/ids.ts';

export interface PodNetwork {
  readonly overlay: OverlayId;
  readonly mode: 'routed' | 'bridged';
  /** The bridge that pods become ports of. */
  readonly bridge: string;
  readonly mtu: number;
  /** This node's ranges, at most one of each family, each with what is on the link of its pods. */
  readonly ranges: readonly PodRange[];
  /** Frames can reach other nodes now. */
  readonly isUp: boolean;
}

export interface PodRange {
  readonly range: Range;
  readonly gateway: string;
  /** Prefix length of a pod's address: that of the range, or of the whole overlay's when bridged. */
  readonly onLink: number;
}

/** Why no pod can be attached at present, in words for an operator. */
export interface NotYet {
  readonly notYet: string;
}

export interface PodNetworks {
  /** The overlay named, or the only one. */
  find(overlay: OverlayId | null): PodNetwork | NotYet;
  /** Makes what a host lost: the bridge of the pods with its gateway addresses. */
  repair(overlay: OverlayId): Promise<void>;
}
