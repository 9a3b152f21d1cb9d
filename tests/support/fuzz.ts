/**
 * Mutation over a corpus of files, with a wall-clock limit: what fast-check's structure does not
 * reach. Owns the corpus folders and the saving of inputs that fail; knows no decoder.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EvioError } from '../../base/errors.ts';
import { repositoryRoot } from './repository.ts';

/** How long each target runs: `--seconds` of the runner, by hand; little in CI. */
export const fuzzSeconds = (usual: number): number => {
  const wanted = Number(process.env['EVIO_FUZZ_SECONDS'] ?? usual);
  return wanted > 0 ? wanted : usual;
};

export const corpusOf = (target: string): string =>
  join(repositoryRoot, 'tests/fixtures/corpus', target);

/** The files of a corpus; there must be some. */
export function readCorpus(target: string): Buffer[] {
  const folder = corpusOf(target);
  const files = readdirSync(folder).sort();
  if (files.length === 0) throw new Error(`no corpus in ${folder}`);
  return files.map((name) => readFileSync(join(folder, name)));
}

/** A small generator with a seed (Numerical Recipes' LCG), so that a run can be repeated. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  below(n: number): number {
    this.#state = (Math.imul(this.#state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * n);
  }
}

const tokens = [
  '\0',
  '"',
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '\\',
  '\n',
  '=',
  '-1',
  '0',
  '1e999',
  'null',
].map((text) => Buffer.from(text));
const numbers = [0, 1, 0x7f, 0x80, 0xff].map((n) => Buffer.of(n));

/** One to four changes: bits, bytes, cuts, copies, pieces of others. */
export function mutate(input: Buffer, all: readonly Buffer[], random: Random): Buffer {
  let out = Buffer.from(input);
  for (let edits = 1 + random.below(4); edits > 0; edits--) {
    const at = random.below(out.length + 1);
    const to = at + random.below(Math.min(64, out.length - at) + 1);
    const splice = (piece: Buffer): void => {
      out = Buffer.concat([out.subarray(0, at), piece, out.subarray(to)]);
    };
    const pick = (list: readonly Buffer[]): Buffer => list[random.below(list.length)] ?? out;
    const other = pick(all);
    switch (random.below(6)) {
      case 0:
        if (at < out.length) out[at] = (out[at] ?? 0) ^ (1 << random.below(8));
        break;
      case 1:
        splice(pick(tokens));
        break;
      case 2:
        splice(pick(numbers));
        break;
      case 3:
        splice(Buffer.alloc(0));
        break;
      case 4:
        splice(
          out.subarray(at, to).length > 0
            ? Buffer.concat([out.subarray(at, to), out.subarray(at, to)])
            : other,
        );
        break;
      default:
        splice(other.subarray(random.below(other.length + 1)));
    }
    if (out.length > 1 << 17) out = out.subarray(0, 1 << 17);
  }
  return out;
}

export interface FuzzOptions {
  readonly target: string;
  readonly seconds: number;
  readonly seed?: number;
  /** Longest that one input may take, ms: beyond it something is worse than linear. */
  readonly limitMs?: number;
}

/** Runs `eat` until the time is over; how often. Only EvioErrors may come out of it. */
export async function fuzz(
  { target, seconds, seed = Date.now() >>> 0, limitMs = 1_000 }: FuzzOptions,
  eat: (input: Buffer, random: Random) => void | Promise<void>,
): Promise<number> {
  const corpus = readCorpus(target);
  const random = new Random(seed);
  const endMs = performance.now() + seconds * 1_000;
  let runs = 0;
  for (const queue = [...corpus]; performance.now() < endMs; runs++) {
    const input =
      queue.shift() ??
      mutate(corpus[random.below(corpus.length)] ?? Buffer.alloc(0), corpus, random);
    const startMs = performance.now();
    try {
      await eat(input, random);
    } catch (error) {
      if (!(error instanceof EvioError)) throw failure(target, seed, input, error);
    }
    const tookMs = performance.now() - startMs;
    if (tookMs > limitMs) throw failure(target, seed, input, new Error(`took ${tookMs} ms`));
  }
  return runs;
}

/** Keeps the input and says where: it belongs into the corpus with the fix. */
export function failure(target: string, seed: number, input: Uint8Array, cause: unknown): Error {
  const folder = mkdtempSync(join(tmpdir(), `evio-fuzz-${target}-`));
  mkdirSync(folder, { recursive: true });
  const file = join(folder, 'input');
  writeFileSync(file, input);
  const shown = Buffer.from(input.subarray(0, 200)).toString('latin1');
  const text = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
  return new Error(`${target}, seed ${seed}, input ${file}: ${JSON.stringify(shown)}\n${text}`, {
    cause,
  });
}
