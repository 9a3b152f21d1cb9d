/**
 * Trust policies: whether a peer that proved its key may be a member. Owns the pins file of policy
 * `roster`; never verifies signatures, never decides who is in the roster (the server did).
 */
import type { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { EvioError, messageOf } from '../../base/errors.ts';
import type { NodeId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import {
  type Claim,
  forgetPin,
  judgeClaim,
  type KeyChange,
  type Pin,
  PinsFile,
  replacePin,
} from './core/pins.ts';
import { prepareStateDirectory, readStateFile, writeStateFile } from './state-file.ts';

export type Verdict =
  | { readonly accepted: true }
  | {
      readonly accepted: false;
      readonly reason: string;
      /** The key that is pinned instead, where `evio trust accept` is the way; else null. */
      readonly pinned: NodeId | null;
    };

/** A claim with the certificate that it came with; a policy that wants a chain has it here. */
export interface TrustClaim extends Claim {
  readonly certificate: X509Certificate;
}

/** One policy per overlay. Synchronous: a verdict is needed before the next stanza. */
export interface TrustPolicy {
  /** Judges whom the server announces; a policy may remember a first one. */
  judge(claim: TrustClaim): Verdict;
  /** Judges one that was accepted, again; remembers nothing. */
  holds(claim: TrustClaim): Verdict;
}

/** Changes of keys that were refused and are remembered, so that `forget` is no way around them. */
const maxRefusedChanges = 1_024;

export interface PinStoreDeps {
  readonly stateDirectory: string;
  readonly log: Logger;
  /** Wall clock, milliseconds since the epoch. */
  readonly wallNow: () => number;
}

/** The pins of this node, and policy `roster` over them. One for all overlays. */
export class PinStore implements TrustPolicy {
  readonly #path: string;
  readonly #deps: PinStoreDeps;
  /** Place → the key that was refused there last. */
  readonly #refusedKeys = new Map<string, NodeId>();
  #pins: readonly Pin[];
  #written: readonly Pin[];
  #writing: Promise<void> | null = null;

  private constructor(deps: PinStoreDeps, path: string, pins: readonly Pin[]) {
    this.#deps = deps;
    this.#path = path;
    this.#pins = pins;
    this.#written = pins;
  }

  /** Reads `pins.json` of the state directory; throws `identity.pins-unusable` if it is damaged. */
  static async open(deps: PinStoreDeps): Promise<PinStore> {
    const path = join(deps.stateDirectory, 'pins.json');
    await prepareStateDirectory(deps.stateDirectory);
    const file = await readStateFile(path, 'identity.pins-unusable');
    return new PinStore(deps, path, file === null ? [] : parsePins(path, file.text));
  }

  judge(claim: TrustClaim): Verdict {
    const verdict = judgeClaim(this.#pins, pick(claim), this.#now());
    switch (verdict.kind) {
      case 'known':
        return { accepted: true };
      case 'refused':
        if (verdict.pinned !== null) this.#rememberRefused(claim);
        return { accepted: false, reason: verdict.reason, pinned: verdict.pinned };
      case 'pinned':
        this.#change(verdict.pins);
        this.#deps.log.info('key pinned', {
          overlay: claim.overlay,
          account: claim.account,
          name: claim.name,
          peer: claim.node,
        });
        return { accepted: true };
    }
  }

  holds(claim: TrustClaim): Verdict {
    const verdict = judgeClaim(this.#pins, pick(claim), this.#now());
    if (verdict.kind === 'known') return { accepted: true };
    if (verdict.kind === 'refused') {
      return { accepted: false, reason: verdict.reason, pinned: verdict.pinned };
    }
    return { accepted: false, reason: 'its key is no longer pinned', pinned: null };
  }

  /** The operator accepts a changed key. Resolves when it is on disk; throws `request.invalid`. */
  async accept(change: KeyChange): Promise<void> {
    await this.#apply(replacePin(this.#pins, change, this.#now()));
    this.#refusedKeys.delete(placeOf(change));
    const { overlay, account, name, from, to } = change;
    this.#deps.log.warn('changed key accepted', {
      overlay,
      account,
      name,
      peer: to,
      reason: `it was ${from}`,
    });
  }

  /** The operator forgets a node that is gone. Resolves when it is on disk; throws `request.invalid`. */
  async forget(claim: Claim): Promise<void> {
    const refused = this.#refusedKeys.get(placeOf(claim));
    if (refused !== undefined) {
      throw new EvioError(
        'request.invalid',
        `node "${claim.name}" of ${claim.account} shows key ${refused}: a changed key is accepted with evio trust accept`,
      );
    }
    await this.#apply(forgetPin(this.#pins, claim));
    const { overlay, account, name, node: peer } = claim;
    this.#deps.log.warn('key forgotten', { overlay, account, name, peer });
  }

  async #apply(change: ReturnType<typeof forgetPin>): Promise<void> {
    if (change.kind === 'refused') throw new EvioError('request.invalid', change.reason);
    this.#change(change.pins);
    await this.flush();
  }

  #rememberRefused(claim: Claim): void {
    this.#refusedKeys.set(placeOf(claim), claim.node);
    const [oldest] = this.#refusedKeys.keys();
    if (this.#refusedKeys.size > maxRefusedChanges && oldest !== undefined) {
      this.#refusedKeys.delete(oldest);
    }
  }

  list(): readonly Pin[] {
    return this.#pins;
  }

  /** Resolves when every pin so far is on disk; rejects when it cannot be written. */
  async flush(): Promise<void> {
    while (this.#pins !== this.#written) await (this.#writing ?? this.#write());
  }

  #now(): string {
    return new Date(this.#deps.wallNow()).toISOString();
  }

  /** The pin counts at once; writes are coalesced, since many peers can appear in one moment. */
  #change(pins: readonly Pin[]): void {
    this.#pins = pins;
    if (this.#writing !== null) return;
    this.flush().catch((error: unknown) =>
      this.#deps.log.error('pins cannot be written', {
        path: this.#path,
        error: messageOf(error),
      }),
    );
  }

  #write(): Promise<void> {
    const pins = this.#pins;
    const text = `${JSON.stringify({ version: 1, pins }, null, 2)}\n`;
    this.#writing = writeStateFile(this.#path, text, 0o600)
      .then(() => {
        this.#written = pins;
      })
      .finally(() => {
        this.#writing = null;
      });
    return this.#writing;
  }
}

function parsePins(path: string, text: string): readonly Pin[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new EvioError('identity.pins-unusable', `${path} is not JSON: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const parsed = PinsFile.safeParse(json);
  if (parsed.success) return parsed.data.pins;
  const [issue] = parsed.error.issues;
  throw new EvioError(
    'identity.pins-unusable',
    `${path} is damaged at ${issue?.path.join('.') || 'its top'}: ${issue?.message}`,
  );
}

const pick = ({ overlay, account, name, node }: Claim): Claim => ({ overlay, account, name, node });
const placeOf = ({ overlay, account, name }: Omit<Claim, 'node'>): string =>
  JSON.stringify([overlay, account, name]);
