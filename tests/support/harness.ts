/**
 * The test harness, and the only importer of uvu: a suite that queues its own run, a time limit
 * and `defer` for each test. No uvu hooks (a throwing hook exits 0 in uvu 0.5.6).
 */
import { suite as uvuSuite } from 'uvu';
import { patience } from './pace.ts';

export interface T {
  /** Aborts when the test is over. */
  readonly signal: AbortSignal;
  /** Undo something when the test is over, pass or fail; last in, first out. */
  defer(undo: () => void | Promise<void>): void;
}
type Body = (t: T) => void | Promise<void>;

export interface Suite {
  /** One behaviour as a sentence. Default limit 5 s, of a quiet machine. */
  (title: string, body: Body, timeoutMs?: number): void;
  /** The same, skipped where `why` says why it cannot run here (printed). */
  unless(why: string | null, title: string, body: Body, timeoutMs?: number): void;
}

/** A named suite; runs by itself after the file has been read. */
export function suite(name: string): Suite {
  const target = uvuSuite(name);
  queueMicrotask(() => target.run());
  const add = (title: string, body: Body, timeoutMs = 5_000): void =>
    target(title, () => runOne(title, body, timeoutMs * patience));
  return Object.assign(add, {
    unless(why: string | null, title: string, body: Body, timeoutMs?: number): void {
      if (why === null) {
        add(title, body, timeoutMs);
        return;
      }
      process.stdout.write(`skipped: ${name}: ${title}: ${why}\n`);
      target.skip(title, () => {});
    },
  });
}

async function runOne(title: string, body: Body, timeoutMs: number): Promise<void> {
  const over = new AbortController();
  const undo: Array<() => void | Promise<void>> = [];
  const errors: unknown[] = [];
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`"${title}" took longer than ${timeoutMs} ms`)),
      timeoutMs,
    );
  });
  try {
    await Promise.race([body({ signal: over.signal, defer: (f) => void undo.push(f) }), late]);
  } catch (error) {
    errors.push(error);
  }
  clearTimeout(timer);
  over.abort();
  for (const f of undo.reverse()) {
    try {
      await f();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length === 1) throw errors[0];
  if (errors.length > 1) throw new AggregateError(errors, errors.map(String).join('\n'));
}
