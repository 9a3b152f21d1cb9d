/**
 * Doc comments and text of the members of one declaration, read from our own sources, which the
 * formatter keeps in one form. Owns that small parser; the compiler has no API for it.
 */

export interface Member {
  readonly name: string;
  /** The doc comment as one paragraph; empty when there is none. */
  readonly doc: string;
  /** The member as it is written, without the doc comment and two columns to the left. */
  readonly text: string;
}

/** The members at two columns of the block whose first line starts with `opening`. */
export function membersOf(source: string, opening: string): readonly Member[] {
  const lines = source.split('\n');
  const start = lines.findIndex((line) => line.startsWith(opening));
  if (start < 0) throw new Error(`no line starts with ${JSON.stringify(opening)}`);
  const members: Member[] = [];
  let doc: string[] = [];
  let inDoc = false;
  for (const line of lines.slice(start + 1)) {
    if (line.startsWith('}')) return members;
    const name = /^ {2}'?([\w.]+)'?\??: /.exec(line)?.[1];
    const last = members.at(-1);
    if (inDoc || /^ {2}\/\*\*/.test(line)) {
      if (!inDoc) doc = [];
      doc.push(line);
      inDoc = !line.endsWith('*/');
    } else if (name !== undefined) {
      members.push({ name, doc: paragraph(doc), text: line.slice(2) });
      doc = [];
    } else if (last !== undefined && line !== '') {
      members[members.length - 1] = { ...last, text: `${last.text}\n${line.slice(2)}` };
    }
  }
  throw new Error(`the block of ${JSON.stringify(opening)} does not end`);
}

/** The doc comment right above the line that starts with `opening`, as one paragraph. */
export function docAbove(source: string, opening: string): string {
  const lines = source.split('\n');
  const at = lines.findIndex((line) => line.startsWith(opening));
  const start = lines.slice(0, Math.max(0, at)).findLastIndex((line) => line.startsWith('/**'));
  const doc = lines.slice(start, at);
  return start >= 0 && doc.at(-1)?.endsWith('*/') === true ? paragraph(doc) : '';
}

const paragraph = (doc: readonly string[]): string =>
  doc
    .map((line) => line.replace(/^\s*(\/\*\*|\*\/|\*)?\s?/, '').replace(/\s*\*\/$/, ''))
    .join(' ')
    .trim();
