/**
 * The shell of the search for the path's MTU: sends the pings, recognises the pongs, keeps the timer.
 * Owns the nonces of its questions; decides nothing (`core/path-mtu.ts`).
 */
import { randomBytes } from 'node:crypto';
import { Alarm, type Clock } from '../../base/clock.ts';
import { remember } from '../../base/remember.ts';
import { controlBytes, encodeControl } from './core/control.ts';
import { initialPathMtu, nextPathMtu, type PathMtu, type PathMtuInput } from './core/path-mtu.ts';

/** Questions whose answer may still come: the tries of one size, and late ones. */
const maxQuestions = 16;
/** More than this in a second is traffic that a black hole would hurt. */
const busyBytes = 32_768;

export interface ProbeDeps {
  readonly clock: Clock;
  /** Sends a control payload over the association in use; false when the kernel refused it. */
  readonly send: (payload: Uint8Array) => boolean;
  /** Frames of at most `bytes` pass; `settled`: the search has ended. */
  readonly onFits: (bytes: number, settled: boolean) => void;
}

export class PathProbe {
  readonly #deps: ProbeDeps;
  /** Nonce of a question → its size, 0 for the small one. */
  readonly #questions = new Map<bigint, number>();
  readonly #alarm: Alarm;
  #state: PathMtu = initialPathMtu;
  #told = { bytes: 0, settled: true };
  #sentBytes = 0;
  #sendErrors = 0;

  constructor(deps: ProbeDeps) {
    this.#deps = deps;
    this.#alarm = new Alarm(deps.clock);
  }

  /** Largest frame that is sent now, 0 before the first path. */
  get fits(): number {
    return this.#state.fits;
  }

  get settled(): boolean {
    return this.#told.settled;
  }

  /** The path in use is another one from now on; `most` is what is sent over it until told. */
  begin(most: number): void {
    this.#questions.clear();
    this.#told = { bytes: most, settled: true };
    this.#input({ kind: 'begin', most });
  }

  /** Once a second, with the totals of the association in use. */
  tick(sentBytes: number, sendErrors: number): void {
    const moreBytes = sentBytes - this.#sentBytes;
    const busy = moreBytes >= busyBytes || sendErrors > this.#sendErrors;
    this.#sentBytes = sentBytes;
    this.#sendErrors = sendErrors;
    this.#input({ kind: 'tick', busy });
  }

  /** A pong came; false when it is none of ours. */
  answered(nonce: bigint): boolean {
    const bytes = this.#questions.get(nonce);
    if (bytes === undefined) return false;
    this.#questions.delete(nonce);
    this.#input(bytes === 0 ? { kind: 'small-passed' } : { kind: 'passed', bytes });
    return true;
  }

  /** There is no path any more. */
  end(): void {
    this.#alarm.end();
    this.#questions.clear();
    this.#state = initialPathMtu;
  }

  #input(input: PathMtuInput): void {
    const { clock } = this.#deps;
    const { state, effects } = nextPathMtu(this.#state, input, clock.now());
    const asked = state.probe;
    this.#state = state;
    for (const effect of effects) {
      if (effect.kind === 'fits') this.#tell(effect.bytes, effect.settled);
      else if (effect.kind === 'timer') this.#schedule(effect.atMs);
      // The kernel's refusal answers at once; only while the same question is open.
      else if (!this.#probe(effect.bytes) && this.#state.probe === asked) {
        this.#input({ kind: 'refused' });
        return;
      }
    }
  }

  /** Once for each change: every confirmation ends in the same words. */
  #tell(bytes: number, settled: boolean): void {
    if (this.#told.bytes === bytes && this.#told.settled === settled) return;
    this.#told = { bytes, settled };
    this.#deps.onFits(bytes, settled);
  }

  /** False when the kernel sends a small datagram but not one of this size. */
  #probe(bytes: number): boolean {
    const large = this.#ask(bytes, bytes);
    const small = this.#ask(0, controlBytes);
    return large || !small;
  }

  #ask(key: number, bytes: number): boolean {
    const nonce = randomBytes(8).readBigUInt64BE();
    remember(this.#questions, nonce, key, maxQuestions);
    return this.#deps.send(encodeControl({ kind: 'ping', nonce }, bytes));
  }

  #schedule(atMs: number): void {
    const { clock } = this.#deps;
    const waitMs = Math.max(1, Math.ceil(atMs - clock.now()));
    this.#alarm.set(waitMs, () => this.#input({ kind: 'timer' }));
  }
}
