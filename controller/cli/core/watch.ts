/**
 * One event as one line. Owns the form; secrets are hidden by the server already.
 */
import type { WatchLine } from '../../local-api/schema.ts';
import { paint, printable, type Screen } from './table.ts';

/** `12:00:00.000 signal.stateChanged overlay=farm state=online`. */
export function formatWatchLine(screen: Screen, line: WatchLine): string {
  if (line.kind === 'dropped') {
    return paint(screen, 'bad', `${line.count} events left out: this reader was too slow`);
  }
  const time = line.at.replace(/^.*T/, '').replace(/Z$/, '');
  const fields =
    typeof line.event === 'object' && line.event !== null
      ? Object.entries(line.event).map(([key, value]) => `${key}=${formatValue(value)}`)
      : [formatValue(line.event)];
  const name = paint(screen, 'bold', printable(line.name));
  return `${paint(screen, 'dim', printable(time))} ${name} ${printable(fields.join(' '))}`;
}

/** A word as it is, everything else as JSON. */
const formatValue = (value: unknown): string =>
  typeof value === 'string' && /^[^\s"]+$/.test(value) ? value : String(JSON.stringify(value));
