/**
 * The path that frames take now, and what is told of it when the machine changes association or path:
 * its limit is found out anew, or carried over to new keys. Owns that path's summary; decides nothing.
 */
import type { SessionNonce } from '../../base/ids.ts';
import type { Datapath, SessionNumber } from '../datapath/datapath.ts';
import { type Associations, noPath, type PathSummary } from './associations.ts';
import type { PathProbe } from './path-probe.ts';
import type { SessionEvents } from './session-contract.ts';

export interface PathInUseDeps {
  readonly datapath: Datapath;
  readonly associations: Associations;
  readonly probe: PathProbe;
  readonly events: SessionEvents;
  /** The association that carries frames; null: the session is not up. */
  readonly current: () => SessionNumber | null;
  /** Nothing uses the attempt's sockets any more. */
  readonly drop: (own: SessionNonce) => void;
}

export class PathInUse {
  readonly #deps: PathInUseDeps;
  #path: PathSummary = noPath;
  #cipher: string | null = null;
  #rekeys = 0;

  constructor(deps: PathInUseDeps) {
    this.#deps = deps;
  }

  get path(): PathSummary {
    return this.#deps.current() === null ? noPath : this.#path;
  }
  get cipher(): string | null {
    return this.#cipher;
  }
  /** How often keys were replaced inside the link. */
  get rekeys(): number {
    return this.#rekeys;
  }

  /** Frames go over the association; what was found out about its path holds for its new keys. */
  use(number: SessionNumber, from: SessionNumber | null): void {
    const { associations, probe, datapath, events } = this.#deps;
    if (!associations.has(number)) return;
    const alike = from !== null && associations.areAlike(from, number);
    const most = associations.most(number);
    this.#path = associations.summary(number);
    this.#cipher = associations.cipherOf(number);
    const { fits, settled } = alike ? probe : { fits: most, settled: true };
    if (alike) {
      this.#rekeys += 1;
      associations.limit(number, fits);
    }
    if (from !== null) datapath.replaceSession(from, number);
    events.onUsed(number, fits, settled);
    if (!alike) probe.begin(most);
  }

  useRing(number: SessionNumber): void {
    this.#deps.associations.useRing(number);
    this.#measureAnew(number);
  }

  /** The ring's ways have changed. True: it leads over another next hop now. */
  follow(): boolean {
    const { associations, current, events } = this.#deps;
    const number = current();
    if (!associations.follow(number) || number === null) return false;
    this.#measureAnew(number);
    events.onPathChanged(this.#path);
    return true;
  }

  /** The same keys on another path: how much it carries is found out from the start. */
  #measureAnew(number: SessionNumber): void {
    const { associations, probe, events } = this.#deps;
    const most = associations.most(number);
    this.#path = associations.summary(number);
    events.onUsed(number, most, true);
    probe.begin(most);
  }

  /** So much fits, as the probe has found out. */
  fits(bytes: number, settled: boolean): void {
    const { associations, current, events } = this.#deps;
    const number = current();
    if (number === null) return;
    associations.limit(number, bytes);
    events.onUsed(number, bytes, settled);
  }

  shed(number: SessionNumber): void {
    const attempt = this.#deps.associations.shed(number);
    if (attempt !== null) this.#deps.drop(attempt.own);
  }

  remove(number: SessionNumber): void {
    const attempt = this.#deps.associations.remove(number);
    this.#deps.events.onRemoved(number);
    if (attempt !== null) this.#deps.drop(attempt.own);
  }
}
