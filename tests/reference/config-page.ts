/**
 * The page of the configuration's keys and the JSON Schema for editors, both from the zod schema
 * and the table of original Evio's keys.
 */
import { z } from 'zod';
import { evioKeys } from '../../config/evio-keys.ts';
import { ConfigFile } from '../../config/schema.ts';
import { asSchema, type JsonSchema, jsonSchemaOf, typeWords } from './type-text.ts';

/** Draft 7: the newest that common editors know in full. */
export const configJsonSchema = (): string =>
  `${JSON.stringify(z.toJSONSchema(ConfigFile, { io: 'input', target: 'draft-7' }), null, 2)}\n`;

export function configPage(): string {
  const root = jsonSchemaOf(ConfigFile);
  const sections = Object.entries(root.properties ?? {}).filter(([name]) => name !== '$schema');
  return [
    '# Configuration',
    'One JSON file for each node. Unknown keys are errors. `<overlay>` stands for the id of an overlay in `Broker.Overlays`. Relative paths of files start at the folder of the configuration. [How to configure](../operate/configure.md) has an example.',
    ...sections.flatMap(([name, section]) => sectionOf(name, asSchema(section))),
    '## Keys of the original Evio that are not read',
    'Evio says so when it finds one of them, and goes no further.',
    table(
      ['key', 'why'],
      evioKeys.map(({ path, why }) => [
        `\`${path.replaceAll('*', '<overlay>')}\``,
        why.replaceAll('<', '&lt;'),
      ]),
    ),
  ].join('\n\n');
}

function sectionOf(name: string, section: JsonSchema): readonly string[] {
  const rows = rowsOf(name, section);
  const none = 'No keys in this release.';
  return [
    `## ${name}`,
    section.description ?? '',
    rows.length === 0 ? none : table(['key', 'type', 'default', 'meaning'], rows),
  ];
}

/** One row for each value, objects opened up. */
function rowsOf(path: string, schema: JsonSchema): readonly (readonly string[])[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, value]) => {
    const member = asSchema(value);
    const inner = `${path}.${name}`;
    if (member.type === 'object') return objectRows(inner, member);
    const required = schema.required?.includes(name) === true;
    const fallback = member.default === undefined ? '' : `\`${JSON.stringify(member.default)}\``;
    const row = [
      `\`${inner}\``,
      typeWords(member),
      required ? '**required**' : fallback,
      member.description ?? '',
    ];
    const items = asSchema(member.items ?? {});
    return items.type === 'object' ? [row, ...rowsOf(`${inner}[]`, items)] : [row];
  });
}

function objectRows(path: string, schema: JsonSchema): readonly (readonly string[])[] {
  return schema.properties === undefined
    ? rowsOf(`${path}.<overlay>`, asSchema(schema.additionalProperties ?? {}))
    : rowsOf(path, schema);
}

export const table = (titles: readonly string[], rows: readonly (readonly string[])[]): string =>
  [titles, titles.map(() => '---'), ...rows]
    .map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
    .join('\n');
