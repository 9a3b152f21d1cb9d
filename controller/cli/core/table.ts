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
  /** Left out when cutting is not enough, the lowest number first. */
  readonly leaveOut?: number;
}

const gap = '  ';

/** Lines of a table, title first, without line ends. Right-most columns are cut first. */
export function formatTable(
  screen: Screen,
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
): readonly string[] {
  const lanes = fit(
    columns.map((column, index) =>
      laneOf(
        column,
        rows.map((row) => row[index] ?? { text: '' }),
      ),
    ),
    screen.width,
  );
  return Array.from({ length: rows.length + 1 }, (_, line) =>
    lanes
      .map(({ cells, width, column }) => {
        const { text, colour } = cells[line] ?? { text: '' };
        const fitted = cut(text, width);
        const padding = ' '.repeat(width - lengthOf(fitted));
        const painted = paint(screen, colour ?? null, fitted);
        return column.align === 'right' ? padding + painted : painted + padding;
      })
      .join(gap)
      .trimEnd(),
  );
}

/** A column with all its cells, the title first, and the width it has now. */
interface Lane {
  readonly column: Column;
  readonly cells: readonly Cell[];
  readonly width: number;
}

function laneOf(column: Column, texts: readonly Cell[]): Lane {
  const title: Cell = { text: column.title, colour: 'dim' };
  const cells = [title, ...texts.map((cell) => ({ ...cell, text: printable(cell.text) }))];
  return { column, cells, width: Math.max(...cells.map(({ text }) => lengthOf(text))) };
}

/** Cuts and leaves out columns until the rest fits, or nothing more may go. */
function fit(lanes: readonly Lane[], screenWidth: number): readonly Lane[] {
  let excess =
    lanes.reduce((sum, { width }) => sum + width + gap.length, -gap.length) - screenWidth;
  const narrowed = lanes.toReversed().map((lane) => {
    const { title, cutTo = lane.width } = lane.column;
    const taken = Math.max(0, Math.min(excess, lane.width - Math.max(cutTo, title.length)));
    excess -= taken;
    return { ...lane, width: lane.width - taken };
  });
  const ranks = lanes.flatMap(({ column }) => column.leaveOut ?? []);
  if (excess <= 0 || ranks.length === 0) return narrowed.toReversed();
  const first = Math.min(...ranks);
  return fit(
    lanes.filter(({ column }) => column.leaveOut !== first),
    screenWidth,
  );
}

/** Characters as the terminal shows them; wide ones of East Asia count one. */
const lengthOf = (text: string): number => [...text].length;

export const cut = (text: string, width: number): string =>
  lengthOf(text) <= width ? text : `${[...text].slice(0, Math.max(0, width - 1)).join('')}…`;
