/**
 * The cable itself: what everything else is divided by. Owns no process.
 */
import type { Program } from './program.ts';

export const raw: Program = {
  name: 'raw',
  missing: () => null,
  install: { kind: 'nothing' },
  start: (pair) =>
    Promise.resolve({
      addresses: { a: pair.a.underlay, b: pair.b.underlay },
      pids: { a: [], b: [] },
      stop: () => Promise.resolve(),
    }),
};
