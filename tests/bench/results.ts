/**
 * What the bench makes of its samples: rows, the table, `bench/results.json`, and what is said about
 * the bars. Pure; measures nothing.
 */
import type { Case } from './measure.ts';

/** How a program's frames travel, where that is not the measured cable: behind the case's name. */
export type Way = 'turn' | 'ring';

export interface Column {
  /** What the table and `--only` call it. */
  readonly name: string;
  readonly program: string;
  readonly way?: Way;
  /** A layer-2 overlay that Debian or its language's registry has: the bar of the best of them. */
  readonly rival?: boolean;
}

/** Column → case → one value per round. */
export type Samples = ReadonlyMap<string, ReadonlyMap<Case, readonly number[]>>;

export interface Row {
  readonly case: string;
  readonly program: string;
  readonly value: number;
  readonly unit: string;
  readonly ratio_to_raw: number | null;
}

export type Units = Readonly<Record<Case, string>>;

const isCase = (units: Units, name: string): name is Case => name in units;
const casesOf = (units: Units): readonly Case[] =>
  Object.keys(units).filter((name) => isCase(units, name));
const rounded = (value: number): number => Number(value.toPrecision(4));

/** Rows in the order of cases, then columns: medians of the rounds, ratios to the bare cable's. */
export function rowsOf(columns: readonly Column[], units: Units, samples: Samples): readonly Row[] {
  return casesOf(units).flatMap((name) => {
    const under = medianOf(samples, 'raw', name);
    return columns.flatMap((column) => {
      const value = medianOf(samples, column.name, name);
      if (value === undefined) return [];
      return [
        {
          case: column.way === undefined ? name : `${name}-${column.way}`,
          program: column.program,
          value: rounded(value),
          unit: units[name],
          ratio_to_raw: under === undefined ? null : rounded(value / under),
        },
      ];
    });
  });
}

function medianOf(samples: Samples, column: string, name: Case): number | undefined {
  const sorted = [...(samples.get(column)?.get(name) ?? [])].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)];
  if (upper === undefined || sorted.length % 2 === 1) return upper;
  return (upper + (sorted[middle - 1] ?? upper)) / 2;
}

export function tableOf(columns: readonly Column[], units: Units, samples: Samples): string {
  const shown = columns.filter(({ name }) => samples.has(name));
  const cells = casesOf(units).map((name) => [
    `${name} ${units[name]}`,
    ...shown.map((column) => {
      const value = medianOf(samples, column.name, name);
      return value === undefined ? '-' : formatValue(value);
    }),
  ]);
  const lines = [['', ...shown.map(({ name }) => name)], ...cells];
  const widths = lines[0]?.map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0)));
  const pad = (cell: string, i: number): string =>
    i === 0 ? cell.padEnd(widths?.[i] ?? 0) : cell.padStart(widths?.[i] ?? 0);
  return lines.map((line) => line.map(pad).join('  ')).join('\n');
}

const formatValue = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(3);

/** One promise about ours: what it is a ratio to, and the least or most that it may be. */
interface Bar {
  readonly case: Case;
  readonly column: string;
  /** A column, `rivals` for the best of them, null for the value itself. */
  readonly to: string | null;
  readonly least?: number;
  readonly most?: number;
}

const bars: readonly Bar[] = [
  { case: 'tcp-1', column: 'evio', to: 'raw', least: 0.4 },
  { case: 'tcp-1', column: 'evio', to: 'wireguard-go', least: 2.5 },
  { case: 'tcp-1', column: 'evio', to: 'rivals', least: 8 },
  { case: 'ping-median', column: 'evio', to: 'wireguard-go', most: 1.1 },
  { case: 'udp-64', column: 'evio', to: 'raw', least: 0.35 },
  { case: 'cpu-per-gb', column: 'evio', to: 'wireguard-go', most: 0.4 },
  { case: 'rss', column: 'evio', to: null, most: 180 },
  { case: 'tcp-1', column: 'evio-ring', to: 'evio', least: 0.4 },
  { case: 'tcp-1', column: 'evio-turn', to: 'evio', least: 0.5 },
];

/** A line for each bar that the samples allow to judge: what it is, what was wanted, and whether. */
export function verdictsOf(columns: readonly Column[], samples: Samples): readonly string[] {
  return bars.flatMap((bar) => {
    const value = medianOf(samples, bar.column, bar.case);
    const rivals = columns.filter(({ rival }) => rival === true).map(({ name }) => name);
    const others = (bar.to === 'rivals' ? rivals : [bar.to ?? '']).flatMap((name) => {
      const other = medianOf(samples, name, bar.case);
      return other === undefined ? [] : [{ name, other }];
    });
    const best = others.sort((a, b) => b.other - a.other)[0];
    if (value === undefined || (bar.to !== null && best === undefined)) return [];
    const ratio = value / (best?.other ?? 1);
    const held = ratio >= (bar.least ?? 0) && ratio <= (bar.most ?? Number.POSITIVE_INFINITY);
    const wanted = bar.least === undefined ? `≤ ${bar.most}` : `≥ ${bar.least}`;
    const what = `${bar.column} ${bar.case}${best === undefined ? '' : ` ÷ ${best.name}`}`;
    return [`${held ? 'held  ' : 'MISSED'}  ${what}: ${formatValue(ratio)} (${wanted})`];
  });
}
