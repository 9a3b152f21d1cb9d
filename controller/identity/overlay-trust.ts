/**
 * Which trust policy each overlay has, and everything that others need of it: verdicts, the
 * certificate to show, the anchors for the tunnel process, what the operator may see and change.
 * Owns `trust.changed`; decides nothing itself.
 */
import type { Clock } from '../../base/clock.ts';
import { EvioError } from '../../base/errors.ts';
import type { OverlayId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import type { Port } from '../bus.ts';
import type { Problem } from '../events.ts';
import { CaTrust, type CaTrustConfig } from './ca-trust.ts';
import type { Claim, KeyChange, Pin } from './core/pins.ts';
import type { NodeIdentity } from './node-identity.ts';
import { PinStore, type TrustPolicy } from './trust.ts';

export interface OverlayTrustConfig {
  readonly overlay: OverlayId;
  /** Null: policy `roster`. */
  readonly ca: Omit<CaTrustConfig, 'overlay'> | null;
}

export interface OverlayTrustDeps {
  readonly port: Port<'trust'>;
  readonly identity: NodeIdentity;
  readonly stateDirectory: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly overlays: readonly OverlayTrustConfig[];
}

/** How the trust of an overlay stands, for the operator. */
export interface TrustSnapshot {
  readonly policy: 'roster' | 'ca';
  readonly problem: Problem | null;
  /** End of this node's certificate, ISO 8601; null without a CA. */
  readonly certificateNotAfter: string | null;
  /** Number of the revocation list in use, and how many it revokes; null without one. */
  readonly crlNumber: number | null;
  readonly revoked: number;
}

const rosterSnapshot: TrustSnapshot = {
  policy: 'roster',
  problem: null,
  certificateNotAfter: null,
  crlNumber: null,
  revoked: 0,
};

export class OverlayTrust {
  readonly #deps: OverlayTrustDeps;
  readonly #pins: PinStore;
  readonly #cas: ReadonlyMap<OverlayId, CaTrust>;
  readonly #over = new AbortController();

  private constructor(
    deps: OverlayTrustDeps,
    pins: PinStore,
    cas: ReadonlyMap<OverlayId, CaTrust>,
  ) {
    this.#deps = deps;
    this.#pins = pins;
    this.#cas = cas;
  }

  /** Throws `identity.pins-unusable` or `trust.unusable`. */
  static async open(deps: OverlayTrustDeps): Promise<OverlayTrust> {
    const { stateDirectory, clock, log, identity, port } = deps;
    const wallNow = (): number => clock.wallNow();
    const pins = await PinStore.open({ stateDirectory, log, wallNow });
    const cas = new Map<OverlayId, CaTrust>();
    for (const { overlay, ca } of deps.overlays) {
      if (ca === null) continue;
      const policy = await CaTrust.open({
        config: { overlay, ...ca },
        self: identity.node,
        clock,
        log: log.child('identity', { overlay }),
        changed: () => port.publish('trust.changed', { overlay }),
      });
      cas.set(overlay, policy);
    }
    return new OverlayTrust(deps, pins, cas);
  }

  /** Watches the revocation lists. */
  start(): void {
    for (const ca of this.#cas.values()) ca.watch(this.#over.signal);
  }

  /** Resolves when every pin is on disk. */
  async stop(): Promise<void> {
    this.#over.abort();
    await this.#pins.flush();
  }

  policyOf(overlay: OverlayId): TrustPolicy {
    return this.#cas.get(overlay) ?? this.#pins;
  }

  /** DER of what this node shows of itself. */
  certificateOf(overlay: OverlayId): Uint8Array {
    return this.#cas.get(overlay)?.certificateDer ?? this.#deps.identity.certificateDer;
  }

  anchorsOf(overlay: OverlayId): { readonly ca: string; readonly revoked: string[] } | null {
    return this.#cas.get(overlay)?.anchors() ?? null;
  }

  snapshot(overlay: OverlayId): TrustSnapshot {
    const ca = this.#cas.get(overlay);
    return ca === undefined ? rosterSnapshot : { policy: 'ca', ...ca.snapshot() };
  }

  /** The pinned keys of each overlay; none under policy `ca`. */
  list(): {
    overlays: { overlay: OverlayId; policy: 'roster' | 'ca'; pins: Omit<Pin, 'overlay'>[] }[];
  } {
    const pinsOf = (id: OverlayId): Omit<Pin, 'overlay'>[] =>
      this.#pins.list().flatMap(({ overlay, ...pin }) => (overlay === id ? [pin] : []));
    return {
      overlays: this.#deps.overlays.map(({ overlay, ca }) =>
        ca === null
          ? { overlay, policy: 'roster', pins: pinsOf(overlay) }
          : { overlay, policy: 'ca', pins: [] },
      ),
    };
  }

  /** Takes effect at once. Throws `request.invalid`. */
  async accept(change: KeyChange): Promise<void> {
    this.#demandPins(change.overlay);
    await this.#pins.accept(change);
    this.#deps.port.publish('trust.changed', { overlay: change.overlay });
  }

  /** Takes effect at once: the links of that node end. Throws `request.invalid`. */
  async forget(claim: Claim): Promise<void> {
    this.#demandPins(claim.overlay);
    await this.#pins.forget(claim);
    this.#deps.port.publish('trust.changed', { overlay: claim.overlay });
  }

  #demandPins(overlay: OverlayId): void {
    const known = this.#deps.overlays.find((each) => each.overlay === overlay);
    if (known === undefined) {
      throw new EvioError('request.invalid', `this node is not in an overlay ${overlay}`);
    }
    if (known.ca === null) return;
    throw new EvioError(
      'request.invalid',
      `overlay ${overlay} has policy "ca": its CA says whose key is good, nothing is pinned`,
    );
  }
}
