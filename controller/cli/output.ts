/**
 * Where the CLI prints, and what the terminal can do. Owns the reading of NO_COLOR.
 */
import type { WriteStream } from 'node:tty';
import type { Screen } from './core/table.ts';

/** Colours only on a terminal, and not when NO_COLOR is set to anything (no-color.org). */
export function screenOf(stream: Pick<WriteStream, 'isTTY' | 'columns'>): Screen {
  if (!stream.isTTY) return { width: Number.POSITIVE_INFINITY, colours: false };
  const colours = (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb';
  return { width: stream.columns, colours };
}

export const printLines = (lines: readonly string[]): void => {
  process.stdout.write(`${lines.join('\n')}\n`);
};

export const printJson = (value: unknown): void => {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
};
