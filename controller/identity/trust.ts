/**
 * Trust policies: whether a peer that proved its key may be a member. Owns the pins file of policy
 * `roster`; never verifies signatures, never decides who is in the roster (the server did).
 */
import { join } from 'node:path';
import { EvioError, messageOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { acceptClaim, type Claim, judgeClaim, maxPins, type Pin, PinsFile } from './core/pins.ts';
import { prepareStateDirectory, readStateFile, writeStateFile } from './state-file.ts';

export type Verdict =
  | { readonly accepted: true }
  | { readonly accepted: false; readonly reason: string };

/** A claim with the certificate that it came with; a policy that wants a chain has it here. */
export interface TrustClaim extends Claim {
  readonly certificateDer: Uint8Array;
}

/** One policy per overlay. Synchronous: a verdict is needed before the next stanza. */
export interface TrustPolicy {
  judge(claim: TrustClaim): Verdict;
}

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
        return { accepted: false, reason: verdict.reason };
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

  /** The operator accepts a key: it replaces what was pinned. Resolves when it is on disk. */
  async accept(claim: Claim): Promise<void> {
    const pins = acceptClaim(this.#pins, pick(claim), this.#now());
    if (pins.length > maxPins) {
      throw new EvioError('identity.pins-unusable', `${maxPins} keys are pinned already`);
    }
    this.#change(pins);
    await this.flush();
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
