/**
 * What the pods module is given: collaborators and the configuration of each overlay. Owns these
 * interfaces and the times; nothing else.
 */
import type { Clock } from '../../base/clock.ts';
import type { Exec } from '../../base/exec.ts';
import type { NodeId, OverlayId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Port } from '../bus.ts';
import type { KubernetesSource } from './kubernetes.ts';

/** Where this node's ranges come from. */
export type RangeSource =
  | { readonly kind: 'config'; readonly ranges: readonly string[] }
  | {
      readonly kind: 'pool';
      readonly pool: readonly string[];
      readonly nodeLength: { readonly 4: number; readonly 6: number };
    }
  | ({ readonly kind: 'kubernetes' } & KubernetesSource);

/** One overlay that pods can be attached to, from a validated configuration. */
export interface PodsConfig {
  readonly overlay: OverlayId;
  readonly mode: 'routed' | 'bridged';
  readonly source: RangeSource;
  /** All pods of the cluster are in these; empty: what the members announce. */
  readonly clusterRanges: readonly string[];
  readonly serviceRanges: readonly string[];
  readonly masquerade: boolean;
  /** MTU that the operator fixed for the overlay, or null. */
  readonly mtu: number | null;
  /** Take back at the end what we made, unless a pod needs it. */
  readonly autoDelete: boolean;
}

export interface PodsDeps {
  readonly port: Port<'pods'>;
  readonly exec: Exec;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly self: NodeId;
  readonly stateDirectory: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly overlays: readonly PodsConfig[];
  /** The MTU of an overlay is another one now: its pods' follows. */
  readonly mtuChanged: (overlay: OverlayId, mtu: number) => void;
  /** The host can have pods (again). */
  readonly hostReady: (overlay: OverlayId) => void;
  /** How many pods are attached. */
  readonly attached: (overlay: OverlayId) => number;
}

export const times = {
  /** Silent members end, and a host that somebody else changed is set right. */
  tickMs: 10_000,
  lookEveryMs: 60_000,
  /** After a failure on the host. */
  retryMs: 5_000,
  /** Announcements of those who are there come at once after a login: then a claim is made. */
  listenMs: 3_000,
  /** Routes of before a restart stay until the members had time to say that they are there. */
  inheritMs: 60_000,
} as const;
