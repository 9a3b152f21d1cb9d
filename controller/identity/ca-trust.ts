/**
 * Trust policy `ca`: a peer needs a certificate that the overlay's CA has signed for it, and that is
 * not revoked. Owns the revocation list as last read, and rereads it when its file changes; whatever
 * an XMPP server says changes nothing here.
 */
import type { X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { type Clock, every } from '../../base/clock.ts';
import { EvioError, messageOf } from '../../base/errors.ts';
import type { NodeId, OverlayId } from '../../base/ids.ts';
import type { Logger } from '../../base/log.ts';
import { readNodeCertificate } from '../../base/node-certificate.ts';
import {
  certificateProblem,
  contentProblem,
  type OverlayCa,
  placeOf,
  readOverlayCa,
  serialOf,
} from '../../base/overlay-certificate.ts';
import type { Problem } from '../events.ts';
import type { RevocationList } from './ca/revocation-list.ts';
import type { TrustClaim, TrustPolicy, Verdict } from './trust.ts';

/** A stat of one file: an operator who revokes does not wait for it. */
const lookEveryMs = 2_000;
/** An operator is told this long before the end of the own certificate. */
const warnBeforeMs = 30 * 86_400_000;
const maxCrlBytes = 1 << 20;

export interface CaTrustConfig {
  readonly overlay: OverlayId;
  /** PEM of the CA's certificate, and of the one that it signed for this node. */
  readonly ca: string;
  readonly certificate: string;
  /** Revocation list (PEM); null: nothing is ever revoked. */
  readonly crlFile: string | null;
}

export interface CaTrustDeps {
  readonly config: CaTrustConfig;
  readonly self: NodeId;
  readonly clock: Clock;
  readonly log: Logger;
  /** The list has changed: judge again. */
  readonly changed: () => void;
}

export class CaTrust implements TrustPolicy {
  readonly certificateDer: Uint8Array;
  readonly #deps: CaTrustDeps;
  readonly #ca: OverlayCa;
  readonly #own: X509Certificate;
  #list: RevocationList | null = null;
  #revoked: ReadonlySet<string> = new Set();
  /** Of the file as last looked at, whether or not it could be used. */
  #stamp = '';
  /** Why the file as it is now is not used; the list before it still is. */
  #listProblem: string | null = null;
  #looking = false;

  private constructor(deps: CaTrustDeps, ca: OverlayCa, own: X509Certificate) {
    this.#deps = deps;
    this.#ca = ca;
    this.#own = own;
    this.certificateDer = own.raw;
  }

  /** Throws `trust.unusable` for anything that could never work, a missing list included. */
  static async open(deps: CaTrustDeps): Promise<CaTrust> {
    const { config, self } = deps;
    const { ca, own } = readAnchors(config, self);
    const trust = new CaTrust(deps, ca, own);
    if (config.crlFile !== null) {
      try {
        await trust.#look(config.crlFile);
      } catch (error) {
        throw unusable(`revocation list ${config.crlFile}: ${messageOf(error)}`, error);
      }
    }
    return trust;
  }

  /** Looks at the file until the signal aborts. */
  watch(signal: AbortSignal): void {
    const { clock, config } = this.#deps;
    const { crlFile } = config;
    if (crlFile === null) return;
    every(clock, lookEveryMs, signal, () => {
      if (this.#looking) return;
      this.#looking = true;
      this.#look(crlFile)
        .catch((error: unknown) => this.#listFailed(messageOf(error)))
        .finally(() => {
          this.#looking = false;
        });
    });
  }

  judge(claim: TrustClaim): Verdict {
    return this.#judge(claim, certificateProblem);
  }

  /** Without the signature, which was good when it was judged: hundreds are asked for at a time. */
  holds(claim: TrustClaim): Verdict {
    return this.#judge(claim, contentProblem);
  }

  #judge(
    { overlay, node, name, certificate }: TrustClaim,
    problemOf: typeof certificateProblem,
  ): Verdict {
    const expected = { ca: this.#ca, overlay, node, revoked: this.#revoked };
    const problem = problemOf(certificate, expected, this.#deps.clock.wallNow());
    if (problem !== null) return { accepted: false, reason: problem, pinned: null };
    const signed = placeOf(certificate)?.name;
    if (signed === name) return { accepted: true };
    const reason = `it says that its name is "${name}", its certificate says "${signed}"`;
    return { accepted: false, reason, pinned: null };
  }

  /** For the tunnel process, which judges again in each handshake. */
  anchors(): { readonly ca: string; readonly revoked: string[] } {
    return { ca: this.#deps.config.ca, revoked: [...this.#revoked] };
  }

  /** What the operator should know. */
  snapshot(): {
    readonly problem: Problem | null;
    readonly certificateNotAfter: string;
    readonly crlNumber: number | null;
    readonly revoked: number;
  } {
    return {
      problem: this.#problem(this.#deps.clock.wallNow()),
      certificateNotAfter: this.#own.validToDate.toISOString(),
      crlNumber: this.#list?.number ?? null,
      revoked: this.#revoked.size,
    };
  }

  #problem(nowMs: number): Problem | null {
    const { config, self } = this.#deps;
    const { overlay } = config;
    const expected = { ca: this.#ca, overlay, node: self, revoked: this.#revoked };
    const own = certificateProblem(this.#own, expected, nowMs);
    if (own !== null) return stale(`this node is refused by its peers: ${own}`);
    if (this.#listProblem !== null) {
      const kept = 'the list before it is still used';
      return {
        code: 'trust.unusable',
        message: `${config.crlFile}: ${this.#listProblem}: ${kept}`,
      };
    }
    const nextMs = this.#list?.nextUpdateMs ?? null;
    if (nextMs !== null && nextMs < nowMs) {
      const since = new Date(nextMs).toISOString();
      return stale(`the revocation list ${config.crlFile} is out of date since ${since}`);
    }
    const leftMs = this.#own.validToDate.getTime() - nowMs;
    if (leftMs > warnBeforeMs) return null;
    return stale(`the certificate of this node ends in ${Math.floor(leftMs / 86_400_000)} days`);
  }

  /** Reads the file when it is another than before. Throws when it cannot be used. */
  async #look(file: string): Promise<void> {
    const { size, mtimeMs, ino } = await stat(file).catch((error: unknown) => {
      this.#stamp = ''; // the same file may come back
      throw error;
    });
    const stamp = `${size} ${mtimeMs} ${ino}`;
    if (stamp === this.#stamp) return;
    if (size > maxCrlBytes) throw new Error(`${size} bytes, at most ${maxCrlBytes}`);
    const { readRevocationList } = await import('./ca/revocation-list.ts');
    const text = await readFile(file, 'utf8');
    // A file that is replaced while it is read has another stamp next time.
    this.#stamp = stamp;
    this.#use(await readRevocationList(text, this.#ca));
  }

  #use(list: RevocationList): void {
    const old = this.#list;
    if (old !== null && isOlder(list, old)) {
      throw new Error(`its number ${list.number} is older than ${old.number}, which was seen`);
    }
    this.#list = list;
    this.#listProblem = null;
    this.#revoked = new Set(list.revoked);
    const { log, changed } = this.#deps;
    log.info('revocation list read', { version: `${list.number}`, count: list.revoked.length });
    if (this.#revoked.has(serialOf(this.#own))) log.error('this node is revoked');
    if (old !== null) changed();
  }

  #listFailed(reason: string): void {
    if (this.#listProblem === reason) return;
    this.#listProblem = reason;
    const file = this.#deps.config.crlFile ?? '';
    this.#deps.log.error('revocation list cannot be used, the last one stays', { file, reason });
  }
}

/** A list that was replaced must not come back: what it lacks may have been revoked since. */
const isOlder = (list: RevocationList, old: RevocationList): boolean =>
  list.number < old.number || (list.number === old.number && list.thisUpdateMs < old.thisUpdateMs);

function readAnchors(
  config: CaTrustConfig,
  self: NodeId,
): { readonly ca: OverlayCa; readonly own: X509Certificate } {
  const { overlay } = config;
  try {
    const ca = readOverlayCa(config.ca);
    const { node, x509: own } = readNodeCertificate(config.certificate);
    if (node !== self) throw new Error(`the certificate is of node ${node}, this is ${self}`);
    // Its time is judged whenever it counts, so that a node starts with a clock that is wrong.
    const expected = { ca, overlay, node, revoked: new Set<string>() };
    const problem = certificateProblem(own, expected, own.validFromDate.getTime());
    if (problem !== null) throw new Error(problem);
    return { ca, own };
  } catch (error) {
    throw unusable(`trust of overlay ${overlay}: ${messageOf(error)}`, error);
  }
}

const stale = (message: string): Problem => ({ code: 'trust.stale', message });
const unusable = (message: string, cause?: unknown): EvioError =>
  new EvioError('trust.unusable', message, { cause });
