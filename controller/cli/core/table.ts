/**
 * Text for a terminal: colours, columns, safe characters. Owns widths; never asks the terminal
 * anything, its width and whether it has colours are arguments.
 */

export type Colour = 'good' | 'bad' | 'busy' | 'dim' | 'bold';

/** The terminal as the formatters see it. */
export interface Screen {
  /** Columns; Infinity when the output is not a terminal. */
  readonly width: number;
  readonly colours: boolean;
}

/** Select Graphic Rendition codes (ECMA-48 8.3.117). */
const codes: Readonly<Record<Colour, number>> = { bold: 1, dim: 2, bad: 31, good: 32, busy: 33 };

export const paint = (screen: Screen, colour: Colour | null, text: string): string =>
  colour !== null && screen.colours ? `\u001b[${codes[colour]}m${text}\u001b[0m` : text;

/** Names and reasons come from other machines: nothing of them may steer the terminal. */
export const printable = (text: string): string => text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '?');

export interface Cell {
  readonly text: string;
  readonly colour?: Colour;
}

export interface Column {
  readonly title: string;
  readonly align?: 'right';
  /** May be cut, down to this many characters, when the screen is too narrow. */
  readonly cutTo?: number;
}

const gap = '  ';

/** Lines of a table, title first, without line ends. Right-most columns are cut first. */
export function formatTable(
  screen: Screen,
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
): readonly string[] {
  const safe = rows.map((row) => row.map((cell) => ({ ...cell, text: printable(cell.text) })));
  const widths = columns.map((column, index) =>
    Math.max(column.title.length, ...safe.map((row) => lengthOf(row[index]?.text ?? ''))),
  );
  fit(widths, columns, screen.width);
  const line = (cells: readonly Cell[]): string =>
    columns
      .map((column, index) => {
        const { text, colour } = cells[index] ?? { text: '' };
        const fitted = cut(text, widths[index] ?? 0);
        const padding = ' '.repeat((widths[index] ?? 0) - lengthOf(fitted));
        const painted = paint(screen, colour ?? null, fitted);
        return column.align === 'right' ? padding + painted : painted + padding;
      })
      .join(gap)
      .trimEnd();
  const titles = columns.map(({ title }): Cell => ({ text: title, colour: 'dim' }));
  return [line(titles), ...safe.map(line)];
}

/** Narrows columns in place until all fit, or none can be cut further. */
function fit(widths: number[], columns: readonly Column[], screenWidth: number): void {
  const total = widths.reduce((sum, width) => sum + width, gap.length * (widths.length - 1));
  let excess = total - screenWidth;
  for (let index = columns.length - 1; index >= 0 && excess > 0; index -= 1) {
    const width = widths[index] ?? 0;
    const least = Math.max(columns[index]?.cutTo ?? width, columns[index]?.title.length ?? 0);
    const taken = Math.max(0, Math.min(excess, width - least));
    widths[index] = width - taken;
    excess -= taken;
  }
}

/** Characters as the terminal shows them; wide ones of East Asia count one. */
const lengthOf = (text: string): number => [...text].length;

export const cut = (text: string, width: number): string =>
  lengthOf(text) <= width ? text : `${[...text].slice(0, Math.max(0, width - 1)).join('')}…`;
