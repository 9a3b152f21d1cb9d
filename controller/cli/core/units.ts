/**
 * Numbers as people read them: durations, bytes, rates, round trips. Owns the rounding; three
 * significant digits, decimal units.
 */

const decimal = ['', 'k', 'M', 'G', 'T', 'P'] as const;

function scaled(value: number, unit: string): string {
  let rest = value;
  let step = 0;
  // 999.5 would be printed as 1000
  while (rest >= 999.5 && step < decimal.length - 1) {
    rest /= 1_000;
    step += 1;
  }
  const digits = step === 0 || rest >= 99.95 ? 0 : rest >= 9.995 ? 1 : 2;
  return `${rest.toFixed(digits)} ${decimal[step] ?? ''}${unit}`;
}

export const formatBytes = (bytes: number): string => scaled(bytes, 'B');
export const formatRate = (bitsPerSecond: number): string => scaled(bitsPerSecond, 'bit/s');

/** A round trip; null when none was measured. */
export const formatRtt = (ms: number | null): string =>
  ms === null ? '-' : `${ms < 10 ? ms.toFixed(2) : ms.toFixed(0)} ms`;

/** The two largest units: `3 h 12 min`. */
export function formatDuration(ms: number): string {
  const seconds = Math.floor(ms / 1_000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1_440) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  const hours = Math.floor(minutes / 60);
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
